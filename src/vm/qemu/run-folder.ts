/**
 * Where a VM that runs on this host has its sockets, and what is remembered of its processes:
 * `<home>/run/<NAME>/`. A VM outlives the `migrate serve` that started it; the next one finds here
 * what there is to take over.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import * as v from "valibot";
import { readHomeFile, replaceHomeFile } from "../../home/home-file.ts";
import { peerProcess } from "../../platform/peer-process.ts";
import { isRunning, type ProcessId } from "../../platform/process-id.ts";
import { socketPathBytes } from "../../platform/unix-socket.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { checkVmName } from "../../protocol/names.ts";

/** Longest name of a socket, a link or a log in a run folder, in bytes. */
const runNameBytes = 40;
/** The socket on which QEMU answers us; nobody else may use it, QEMU serves one caller at a time. */
export const qmpSocketName = "qmp";

const processesName = "processes.json";
/** The standard error of the VM's processes. */
export const qemuLogName = "qemu.log";
export const swtpmLogName = "swtpm.log";
/** Files of ours: nothing that a VM's command line names may take their place. */
const ownNames: readonly string[] = [processesName, qemuLogName, swtpmLogName];
/** No dot at the start: those are the files that are being replaced. */
const plainName = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;

const processSchema = v.object({
  pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  startTicks: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});
const schema = v.object({
  session: v.string(),
  /** Of the kernel's run in which they were started: start times count from there. */
  bootId: v.string(),
  qemu: v.nullable(processSchema),
  swtpm: v.nullable(processSchema),
});

export interface NotedProcesses {
  /** The migration that brought the VM. */
  session: string;
  qemu: ProcessId | null;
  swtpm: ProcessId | null;
}

/** Where the run folders of a home lie. */
export const runFolders = (home: string): string => join(resolve(home), "run");

export class RunFolder {
  readonly path: string;
  readonly #vmName: string;

  private constructor(path: string, vmName: string) {
    this.path = path;
    this.#vmName = vmName;
  }

  /**
   * The folder of the VM of that name; makes nothing. Throws MigrateError "name-invalid" for what is no
   * name of a VM, and "home-unusable" if a socket of 40 bytes would have a longer path in it than
   * the 107 bytes of unix(7).
   */
  static at(home: string, vmName: string): RunFolder {
    const wrong = checkVmName(vmName);
    if (wrong !== null) throw new MigrateError("name-invalid", `The VM cannot run here: ${wrong}.`);
    const path = join(runFolders(home), vmName);
    if (Buffer.byteLength(path) + 1 + runNameBytes > socketPathBytes) {
      throw new MigrateError(
        "home-unusable",
        "The VM's name makes the paths of its sockets longer than the system allows.",
        {
          hint: `A socket in ${path} may have ${socketPathBytes} bytes with its path: set MIGRATE_HOME to a shorter one, or give the VM a shorter name.`,
        },
      );
    }
    return new RunFolder(path, vmName);
  }

  /** All run folders of this home, by name; those that hold a running VM and those left behind. */
  static all(home: string): RunFolder[] {
    let names: string[];
    try {
      names = readdirSync(runFolders(home));
    } catch (thrown) {
      if ((thrown as { code?: unknown }).code === "ENOENT") return [];
      throw thrown;
    }
    return names.sort().flatMap((name) => {
      try {
        return [RunFolder.at(home, name)];
      } catch {
        // Not a folder that `make` has made: its name is no VM's.
        return [];
      }
    });
  }

  /**
   * Makes the folder fresh (mode 0700), for the VM that the session brings; what the processes of an
   * earlier one left behind is removed. Throws MigrateError "name-taken" if one of those still
   * runs, "home-unusable" if that cannot be told or the folder cannot be made.
   *
   * Whoever calls this has the VM's name to himself: between this and the first `note` there is no
   * process by which another caller could tell that the folder is in use.
   */
  make(session: string): void {
    if (this.#isInUse()) {
      throw new MigrateError("name-taken", `A VM called ${this.#vmName} runs on this host already.`, {
        hint: `Its sockets are in ${this.path}.`,
      });
    }
    try {
      this.remove();
      mkdirSync(this.path, { recursive: true, mode: 0o700 });
    } catch (cause) {
      const code = String((cause as { code?: unknown }).code);
      throw new MigrateError("home-unusable", `The VM's run folder cannot be made (${code}).`, {
        hint: `Look at ${this.path}, and for a full or read-only disk.`,
        cause,
      });
    }
    this.#write({ session, qemu: null, swtpm: null });
  }

  /** The path that a socket, a log or any other file of this VM has here. Throws as `link` does. */
  socket(name: string): string {
    if (!plainName.test(name) || name.length > runNameBytes || ownNames.includes(name)) {
      throw new MigrateError(
        "name-invalid",
        `A socket of the VM has a name of other than 1 to ${runNameBytes} letters, digits, "_", "-" and ".".`,
      );
    }
    return join(this.path, name);
  }

  /**
   * A name in the run folder that leads to the absolute path `target` (which need not be there), and
   * leads there at once if it led elsewhere. QEMU is given this name, so that the VM's folder may
   * be renamed under it. Returns the name's own path. Throws MigrateError "name-invalid" for a name
   * that is none, and as node:fs does.
   */
  link(name: string, target: string): string {
    const path = this.socket(name);
    if (!isAbsolute(target)) throw new MigrateError("bug", "a link of a run folder leads nowhere by itself");
    const temporary = join(this.path, `.${name}.${randomBytes(6).toString("hex")}.tmp`);
    symlinkSync(target, temporary);
    try {
      renameSync(temporary, path);
    } catch (thrown) {
      rmSync(temporary, { force: true });
      throw thrown;
    }
    return path;
  }

  /**
   * Remembers one of the VM's processes, durably, before anything is done with it. Throws MigrateError
   * "home-unusable" if that cannot be written, or the folder was not made.
   */
  note(what: "qemu" | "swtpm", process: ProcessId): void {
    const noted = this.noted();
    if (noted === null) {
      throw new MigrateError("home-unusable", "The VM's run folder is gone or damaged.", {
        hint: `Look at ${this.path}.`,
      });
    }
    this.#write({ ...noted, [what]: process });
  }

  /**
   * What is remembered of the VM's processes, which may have ended since; those of a run of the system
   * before this one have. Null if there is nothing, or it cannot be read.
   */
  noted(): NotedProcesses | null {
    try {
      const text = readHomeFile(join(this.path, processesName), 0o077);
      if (text === null) return null;
      const { session, bootId, qemu, swtpm } = v.parse(schema, JSON.parse(text));
      return bootId === thisBoot() ? { session, qemu, swtpm } : { session, qemu: null, swtpm: null };
    } catch {
      return null;
    }
  }

  /** Removes the folder with all that is in it; what its links lead to stays. Idempotent. Throws as node:fs does. */
  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  /** Whether a process of an earlier VM of this name still runs. */
  #isInUse(): boolean {
    const noted = this.noted();
    const processes = [noted?.qemu, noted?.swtpm].filter((id) => id !== undefined && id !== null);
    if (processes.some(isRunning)) return true;
    if (this.#isAnswering()) return true;
    if (noted !== null || !existsSync(join(this.path, processesName))) return false;
    // Something is noted that we cannot read: to continue could mean two VMs of one name.
    throw new MigrateError("home-unusable", "What is noted of an earlier VM of this name cannot be read.", {
      hint: `Make sure that none runs from ${this.path}, then remove that folder.`,
    });
  }

  /** Whether a QEMU listens here that nobody noted: its starter was killed in the moment in between. */
  #isAnswering(): boolean {
    try {
      peerProcess(this.socket(qmpSocketName));
      return true;
    } catch {
      return false;
    }
  }

  #write(noted: NotedProcesses): void {
    const text = `${JSON.stringify({ ...noted, bootId: thisBoot() })}\n`;
    replaceHomeFile(join(this.path, processesName), text);
  }
}

/** The name of the kernel's run since its boot: random(4), boot_id. */
function thisBoot(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
