/**
 * A guest that runs as an administrator would start it, to be moved as it runs: with a monitor for
 * `migrate`, and a second one for the test, which sees the VM from outside.
 */
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Child, startChild } from "../system/child.ts";
import { until } from "../system/until.ts";
import type { GuestDisk } from "./guest.ts";
import { guestImage, guestKernelWords } from "./guest-image.ts";
import { GuestLog } from "./guest-log.ts";
import { loadRam, saveRam } from "./saved-ram.ts";
import { SeenGuest } from "./seen/seen-guest.ts";

export interface RunningGuestOptions {
  /** A folder of this guest alone, made where it is absent. Its path has at most 90 bytes: sockets lie in it. */
  folder: string;
  name: string;
  ramMiB: number;
  disks: GuestDisk[];
  /** Words for the guest's init; see guest-init.ts. */
  append?: string;
  /** Gives it a TPM (swtpm, its state in the folder `tpm`); with `tpm=extend` in `append` the guest uses it. */
  tpm?: boolean;
  /** More arguments for QEMU. */
  extraArgs?: string[];
  /**
   * A saved RAM stream to go on from: the guest then stands still until `cont` on its monitor.
   * "defer" starts QEMU with `-incoming defer` and leaves the loading to the caller.
   */
  incoming?: string;
  /** With `incoming`: what the guest has printed before; its log then begins with that. */
  printed?: string;
  /** Copies the kernel and the initramfs into its folder, for a QEMU that may not read this user's cache. */
  copyKernel?: boolean;
  /** Words before QEMU's command, for instance those that enter a network namespace; the process is then QEMU's own. */
  enter?: readonly string[];
}

export class RunningGuest extends SeenGuest {
  readonly log: GuestLog;
  #hasEnded = false;

  private constructor(
    readonly options: RunningGuestOptions,
    private readonly qemu: Child,
    private readonly swtpm: Child | undefined,
  ) {
    super(join(options.folder, "watch"));
    this.log = new GuestLog(join(options.folder, "serial.log"), () => this.isRunning());
    void qemu.exit.then(() => {
      this.#hasEnded = true;
    });
  }

  /**
   * Starts it and gives it once its monitor answers. It is killed with the test process; `kill` it in
   * afterEach. Throws what QEMU or swtpm wrote where they do not start.
   */
  static async start(options: RunningGuestOptions): Promise<RunningGuest> {
    mkdirSync(options.folder, { recursive: true });
    const { kernel, initrd } =
      options.copyKernel === true ? copied(await guestImage(), options.folder) : await guestImage();
    if (options.printed !== undefined) writeFileSync(join(options.folder, "serial.log"), options.printed);
    const swtpm = options.tpm === true ? await startSwtpm(options.folder) : undefined;
    const guest = new RunningGuest(options, startChild(commandLine(options, kernel, initrd)), swtpm);
    try {
      const qmp = await guest.watch();
      if (options.incoming !== undefined && options.incoming !== "defer")
        await loadRam(qmp, options.folder, options.incoming);
      return guest;
    } catch (error) {
      await guest.kill();
      throw new Error(`${error instanceof Error ? error.message : error}; ${guest.lastWords()}`);
    }
  }

  get pid(): number {
    return this.qemu.pid;
  }

  /** The monitor for `migrate send qmp:…`. */
  get qmpPath(): string {
    return join(this.options.folder, "qmp");
  }

  /** Where swtpm keeps the TPM's state. */
  get tpmState(): string {
    return join(this.options.folder, "tpm");
  }

  get swtpmPid(): number | undefined {
    return this.swtpm?.pid;
  }

  isRunning(): boolean {
    return !this.#hasEnded;
  }

  /** What QEMU wrote on its standard error. */
  lastWords(): string {
    return this.qemu.stderr().trim();
  }

  /** Stops the guest, writes its RAM and devices to a file, and lets QEMU end in good order. Throws as `saveRam` does. */
  async saveAndQuit(path: string): Promise<void> {
    const qmp = await this.watch();
    await qmp.execute("stop");
    await saveRam(qmp, this.options.folder, path);
    // QEMU may be gone before its answer is read.
    await qmp.execute("quit").catch(() => {});
    await this.ended();
  }

  /** Settles once QEMU is gone. */
  async ended(): Promise<void> {
    await this.qemu.exit;
  }

  /** User and system CPU time of QEMU from its start to its end, in milliseconds; known after its end. */
  cpuMs(): { userMs: number; systemMs: number } | undefined {
    return this.qemu.cpuMs();
  }

  /** Ends QEMU and swtpm as a power cut would. Harmless when they have ended. */
  async kill(): Promise<void> {
    this.qemu.signal("SIGKILL");
    this.swtpm?.signal("SIGKILL");
    await Promise.all([this.qemu.exit, this.swtpm?.exit]);
    await this.hangUp();
  }
}

function copied<T extends object>(paths: T, folder: string): T {
  const copies = Object.entries(paths).map(([name, path]) => {
    copyFileSync(path as string, join(folder, name));
    return [name, join(folder, name)];
  });
  return Object.fromEntries(copies) as T;
}

function commandLine(options: RunningGuestOptions, kernel: string, initrd: string): string[] {
  const { folder } = options;
  const served = (name: string): string => `path=${join(folder, name)},server=on,wait=off`;
  const tpm = [
    ...["-chardev", `socket,id=chrtpm,path=${join(folder, "swtpm")}`],
    ...["-tpmdev", "emulator,id=tpm0,chardev=chrtpm", "-device", "tpm-tis,tpmdev=tpm0"],
  ];
  return [
    ...(options.enter ?? []),
    ...["qemu-system-x86_64", "-name", `guest=${options.name}`, "-no-user-config", "-nodefaults"],
    ...["-machine", "pc", "-accel", "tcg", "-m", `${options.ramMiB}M`, "-display", "none", "-no-reboot"],
    ...["-kernel", kernel, "-initrd", initrd],
    ...["-append", `${guestKernelWords} ${options.append ?? ""}`.trim()],
    ...["-qmp", `unix:${join(folder, "qmp")},server=on,wait=off`],
    ...["-chardev", `socket,id=watch,${served("watch")}`, "-mon", "chardev=watch,mode=control"],
    ...[
      "-chardev",
      `socket,id=serial,${served("serial")},logfile=${join(folder, "serial.log")},logappend=on`,
    ],
    ...["-serial", "chardev:serial"],
    ...options.disks.flatMap(({ path, format, readOnly }) => [
      "-drive",
      `file=${path},format=${format},if=virtio${readOnly ? ",read-only=on" : ""}`,
    ]),
    ...(options.tpm === true ? tpm : []),
    ...(options.incoming === undefined ? [] : ["-incoming", "defer"]),
    ...(options.extraArgs ?? []),
  ];
}

/** swtpm with a new TPM, as libvirt starts it: it ends when QEMU hangs up. Settles once it listens. */
async function startSwtpm(folder: string): Promise<Child> {
  const [state, pid] = [join(folder, "tpm"), join(folder, "swtpm.pid")];
  mkdirSync(state, { recursive: true });
  const child = startChild([
    ...["swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", `dir=${state}`],
    ...["--ctrl", `type=unixio,path=${join(folder, "swtpm")}`, "--pid", `file=${pid}`],
  ]);
  let hasEnded = false;
  void child.exit.then(() => {
    hasEnded = true;
  });
  // It writes its pid once it listens.
  const listens = (): boolean => {
    if (hasEnded) throw new Error(`swtpm ended: ${child.stderr().trim()}`);
    return existsSync(pid);
  };
  await until(listens, "swtpm to listen", 30_000);
  return child;
}
