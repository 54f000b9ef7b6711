/** Two hosts that run the compiled binary, with VMs that run under QEMU on them; nothing of it outlives the test. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ArrivedGuest } from "../guests/arrived-guest.ts";
import { bootedGuest } from "../guests/booted-guest.ts";
import { RunningGuest, type RunningGuestOptions } from "../guests/running-guest.ts";
import { createDisk } from "../guests/tick-disk.ts";
import { countArrived } from "../runner/lost-guests.ts";
import type { MigrateOptions, MigrateProcess } from "../system/process.ts";
import { until } from "../system/until.ts";
import { type ServeOptions, TwoHosts } from "./two-hosts.ts";

/** A disk that is made empty for a guest. Its file is called `name`. */
export interface NewDisk {
  name: string;
  format: "raw" | "qcow2";
  sizeMiB?: number;
}

export interface GuestWishes extends Partial<Omit<RunningGuestOptions, "disks">> {
  /** Made in the guest's folder; two small ones where it is absent. */
  disks?: NewDisk[];
}

const usualDisks: NewDisk[] = [
  { name: "system.qcow2", format: "qcow2" },
  { name: "data.raw", format: "raw" },
];

/** The processes whose arguments, or whose working directory, lie below that path; our own is not counted. */
export function processesBelow(path: string): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => {
    if (pid === process.pid) return false;
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, "latin1");
      return words.includes(`${path}/`) || `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${path}/`);
    } catch {
      return false;
    }
  });
}

/** Whether such a guest may go on from its boot: one of many that are alike, with disks that may be given its first ticks. */
function canBeBooted({ incoming, tpm, extraArgs, enter, disks }: RunningGuestOptions): boolean {
  const isUsual = [incoming, tpm, extraArgs, enter].every((wish) => wish === undefined);
  return isUsual && disks.every(({ path, format }) => format === "raw" || !existsSync(path));
}

export class RunningHosts {
  /** Below it lies all there is: guests, homes, stores. */
  readonly folder: string;
  /** The homes, the store, and the link (`proxy`) between the two. */
  readonly hosts: TwoHosts;
  readonly #links: TwoHosts[];
  readonly #processes: MigrateProcess[] = [];
  readonly #guests: RunningGuest[] = [];

  private constructor(folder: string, hosts: TwoHosts) {
    this.folder = folder;
    this.hosts = hosts;
    this.#links = [hosts];
  }

  /** Two hosts in a new folder. With `insecure` the link knows the frames that pass (cutting-proxy.ts). */
  static async make({ insecure = false } = {}): Promise<RunningHosts> {
    // Short: the paths of sockets have at most 107 bytes.
    const folder = mkdtempSync(join(tmpdir(), "run-"));
    return new RunningHosts(folder, await TwoHosts.make(folder, { insecure }));
  }

  /** A guest on the source's host, in `<folder>/<name>`; web1 with 128 MiB and two disks of 16 MiB unless told. */
  async guest({ disks = usualDisks, ...wishes }: GuestWishes = {}): Promise<RunningGuest> {
    const name = wishes.name ?? "web1";
    const folder = wishes.folder ?? join(this.folder, name);
    const made = disks.map((disk) => ({ path: join(folder, disk.name), format: disk.format }));
    mkdirSync(folder, { recursive: true });
    const options = { ramMiB: 128, ...wishes, name, folder, disks: made };
    if (canBeBooted(options)) {
      const sized = made.map((disk, n) => ({ ...disk, sizeMiB: disks[n]!.sizeMiB ?? 16 }));
      const guest = await RunningGuest.start({
        ...options,
        ...(await bootedGuest({ ...options, disks: sized })),
      });
      this.#guests.push(guest);
      await (await guest.watch()).execute("cont");
      return guest;
    }
    for (const [n, disk] of made.entries()) {
      if (!existsSync(disk.path)) await createDisk(disk, disks[n]!.sizeMiB ?? 16);
    }
    const guest = await RunningGuest.start(options);
    this.#guests.push(guest);
    return guest;
  }

  /** Starts `migrate serve --qemu` at the destination and waits until it listens. */
  async serve({ flags = [], ...options }: ServeOptions = {}): Promise<MigrateProcess> {
    return this.#track(await this.hosts.serve({ ...options, flags: ["--qemu", ...flags] }));
  }

  /** `migrate send qmp:…` at the source. Takes a guest, or the path of its monitor. */
  send(
    vm: RunningGuest | string,
    flags: string[] = [],
    options: Partial<MigrateOptions> = {},
  ): MigrateProcess {
    const path = typeof vm === "string" ? vm : vm.qmpPath;
    return this.#track(this.hosts.send(`qmp:${path}`, flags, options));
  }

  /** The VM of that name at the destination; it may still be on its way. */
  arrived(name = "web1"): ArrivedGuest {
    return new ArrivedGuest(this.hosts.destinationHome, name);
  }

  /** The way back: the source's host serves, into a store of its own, and the destination's host sends. */
  async back({ flags = [], ...options }: ServeOptions = {}): Promise<TwoHosts> {
    const back = await TwoHosts.make(join(this.folder, "back"));
    back.sourceHome = this.hosts.destinationHome;
    back.destinationHome = this.hosts.sourceHome;
    this.#links.push(back);
    this.#track(await back.serve({ ...options, flags: ["--qemu", ...flags] }));
    return back;
  }

  /** What lies in the destination's store, sorted; the store's own lock aside. */
  inStore(): string[] {
    return readdirSync(this.hosts.store)
      .filter((name) => name !== ".migrate-lock")
      .sort();
  }

  /** The processes of VMs that the destination has: QEMUs and swtpms. */
  processesAtDestination(): number[] {
    return processesBelow(join(this.hosts.destinationHome, "run"));
  }

  /** Ends every process, as a power cut would, and removes the folder. Harmless when that is done. */
  async close(): Promise<void> {
    if (!existsSync(this.folder)) return;
    await Promise.all(this.#processes.map((process) => process.kill()));
    await Promise.all(this.#guests.map((guest) => guest.kill()));
    // VMs that arrived are nobody's children; nor is what watches over a send.
    const left = (): boolean => {
      const pids = processesBelow(this.folder);
      for (const pid of pids) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // Gone by itself.
        }
      }
      return pids.length === 0;
    };
    await until(left, `the end of all processes below ${this.folder}`);
    await Promise.all(this.#links.map((link) => link.close()));
    for (const log of new Bun.Glob("**/run/*/serial.log").scanSync({ cwd: this.folder, absolute: true }))
      countArrived(readFileSync(log, "latin1"));
    rmSync(this.folder, { recursive: true, force: true });
  }

  #track(process: MigrateProcess): MigrateProcess {
    this.#processes.push(process);
    return process;
  }
}
