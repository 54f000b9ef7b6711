/**
 * The programs of one VM on this host, QEMU, swtpm and qemu-img: each is started as the VM's user, with a view of
 * the VM's own files (confinement.ts).
 */
import { chmodSync, lchownSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { MigrateError } from "../../protocol/errors.ts";
import { removeGroup } from "../confinement/cgroups.ts";
import type { Confinement } from "../confinement/confinement.ts";
import { ownCommand } from "../confinement/own-command.ts";
import type { PlannedFile } from "../confinement/plan.ts";
import { give, type VmUser } from "../confinement/vm-user.ts";
import type { VmModel } from "./definition/model.ts";
import { memoryOf, processorsOf } from "./definition/size.ts";
import type { RunFolder } from "./run-folder.ts";

/** What QEMU and swtpm may take beside the guest's memory: code, caches of images, buffers of devices. */
const ownMemoryBytes = 1.5 * 2 ** 30;
/** And what grows with the guest's memory: page tables, bitmaps of dirty pages. */
const memoryShare = 1 / 8;
/** Processors for what is not the guest's own: its disks' and its network's work. */
const ownProcessors = 1;
/** Threads beside one a processor: QEMU's pool for disks has 64, its display and its migration some more. */
const ownTasks = 256;

export interface VmHouse {
  run: RunFolder;
  /** Where the VM's files are, and what else that folder will be called. */
  folder: string;
  finalFolder: string;
  /** Folders with VMs' files, this one's and others'. */
  stores: readonly string[];
  /** Distinguishes the VM from all others on this host: hex digits. */
  id: string;
}

/** Names of the VM's files within its folder. */
export interface VmFiles {
  disks: readonly string[];
  boot: readonly string[];
}

export class VmPrograms {
  readonly #confinement: Confinement | null;
  readonly #house: VmHouse;
  readonly #user: VmUser | null;
  #cgroups: readonly string[] = [];

  /**
   * `confinement` is null for tests that are not about it. Throws MigrateError "policy" if there is no user left,
   * and as node:fs does.
   */
  constructor(confinement: Confinement | null, house: VmHouse) {
    this.#confinement = confinement;
    this.#house = house;
    this.#user = confinement?.lease(this.#folders()) ?? null;
    if (this.#user !== null) {
      give("sockets", house.run.path, this.#user);
      give("way in", house.folder, this.#user);
    }
  }

  /** Where what belongs to VMs' users lies. */
  #folders(): string[] {
    return [...this.#house.stores, join(this.#house.run.path, "..")];
  }

  /** Bounds what all of the VM's programs take together. Throws as node:fs does. */
  limit(definition: VmModel): void {
    const memory = memoryOf(definition);
    const processors = processorsOf(definition);
    this.#cgroups =
      this.#confinement?.limit(idOf(this.#house.id), {
        memoryBytes: Math.ceil(memory * (1 + memoryShare) + ownMemoryBytes),
        processors: processors + ownProcessors,
        tasks: processors + ownTasks,
      }) ?? [];
  }

  /** Lets the VM's programs have its files. Throws as node:fs does. */
  giveFiles({ disks, boot }: VmFiles): void {
    if (this.#user === null) return;
    for (const name of disks) give("disk", join(this.#house.folder, name), this.#user);
    for (const name of boot) give("boot", join(this.#house.folder, name), this.#user);
  }

  /**
   * Gives the TPM's folder to the VM's programs, with what an earlier user of this VM has made in it. Throws
   * MigrateError "vm-invalid" if something in it is no plain file, and as node:fs does.
   */
  giveTpm(): void {
    const folder = join(this.#house.folder, "tpm");
    const user = this.#user ?? ownUser();
    // Who may not give files away has none of another user's.
    if (this.#user === null && lstatSync(folder).uid === user.uid) return;
    give("state", folder, user);
    for (const name of readdirSync(folder)) give("state file", join(folder, name), user);
  }

  /**
   * Keeps sockets that QEMU has made as they are: from here on QEMU cannot put anything else in their places, and
   * have us, with our rights, speak to whom it likes. `forGroup` leaves them to the VM's group, the relay's. Throws MigrateError "qemu-failed" if one is no socket.
   */
  pin(sockets: readonly string[], { forGroup = false } = {}): void {
    if (this.#user === null) return;
    for (const path of sockets) {
      lchownSync(path, process.geteuid?.() ?? -1, this.#user.gid);
      if (lstatSync(path).isSocket()) {
        // It is ours now: nothing else can come to lie here.
        if (forGroup) chmodSync(path, 0o770);
        continue;
      }
      throw new MigrateError("qemu-failed", "the destination's QEMU made something else of its sockets", {
        side: "destination",
      });
    }
  }

  /** The command that starts QEMU; `kept` are descriptors that it is handed. */
  qemu(
    argv: readonly string[],
    files: VmFiles,
    { network, kept }: { network: "host" | "none"; kept: readonly number[] },
  ): string[] {
    const { run } = this.#house;
    const own: PlannedFile[] = [
      { path: run.path, right: "own" },
      ...this.#everywhere("", "read"),
      ...files.disks.flatMap((name) => this.#everywhere(name, "write")),
    ];
    return this.#command(argv, own, { network, kept, cwd: "/" });
  }

  /** The command that starts swtpm. */
  swtpm(argv: readonly string[]): string[] {
    const { run } = this.#house;
    const own: PlannedFile[] = [{ path: run.path, right: "own" }, ...this.#everywhere("tpm", "own")];
    return this.#command(argv, own, { network: "none", cwd: run.path });
  }

  /** The command that starts the keeper of the VM's serial lines, a role of this program. */
  keeper(words: readonly string[]): string[] {
    const self = this.#confinement?.self ?? ownCommand();
    const own: PlannedFile[] = [{ path: this.#house.run.path, right: "own" }, ...needsOf(self)];
    return this.#command([...self, ...words], own, { network: "none", cwd: this.#house.run.path });
  }

  /**
   * The command that starts the relay of the VM's screen, a role of this program. It has this host's network, which
   * QEMU has not: so it runs as a user of its own, with the VM's group. Throws MigrateError "policy" if there is none.
   */
  relay(words: readonly string[]): string[] {
    const self = this.#confinement?.self ?? ownCommand();
    const own: PlannedFile[] = [{ path: this.#house.run.path, right: "own" }, ...needsOf(self)];
    const leased = this.#user === null ? null : (this.#confinement?.lease(this.#folders()) ?? null);
    const user =
      leased === null || this.#user === null ? this.#user : { uid: leased.uid, gid: this.#user.gid };
    return this.#command([...self, ...words], own, { network: "host", cwd: this.#house.run.path, user });
  }

  /** The command that starts qemu-img on one disk of the VM, which is there already. */
  qemuImg(argv: readonly string[], disk: string): string[] {
    const own: PlannedFile[] = [{ path: join(this.#house.folder, disk), right: "write" }];
    return this.#command(argv, own, { network: "none", cwd: "/" });
  }

  #command(
    argv: readonly string[],
    files: readonly PlannedFile[],
    rest: { network: "host" | "none"; kept?: readonly number[]; cwd: string; user?: VmUser | null },
  ): string[] {
    if (this.#confinement === null) return [...argv];
    return this.#confinement.command(argv, { user: this.#user, files, cgroups: this.#cgroups, ...rest });
  }

  /** A part of the VM's folder under both of its names. */
  #everywhere(part: string, right: PlannedFile["right"]): PlannedFile[] {
    const { folder, finalFolder } = this.#house;
    const from = join(folder, part);
    const final = finalFolder === folder ? [] : [{ path: join(finalFolder, part), from, right }];
    return [{ path: from, right }, ...final];
  }
}

/**
 * What this program needs to run at all: its runtime looks for its own stack and its own file in proc(5), of which it
 * sees itself alone; and one that is not compiled has its sources, and the packages beside them.
 */
function needsOf([, main]: readonly string[]): PlannedFile[] {
  const itself: PlannedFile = { path: "/proc/self", right: "read" };
  return main === undefined ? [itself] : [itself, { path: join(main, "../.."), right: "read" }];
}

/** Whoever this process runs as. */
function ownUser(): VmUser {
  return { uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1 };
}

/** What of a VM's files its programs are given. */
export function filesOf({ files }: Pick<VmModel, "files">): VmFiles {
  const names = (wanted: "disk" | "boot") =>
    files.flatMap(({ kind, name }) => (kind === wanted ? [name] : []));
  return { disks: names("disk"), boot: names("boot") };
}

/** The programs of a VM have ended: what limited them goes. `id` is as in VmHouse. Never throws. */
export function endLimits(id: string): void {
  removeGroup(idOf(id));
}

function idOf(id: string): string {
  return id.slice(0, 16);
}
