/**
 * The files of a VM as its own QEMU may use them. Whoever listens on a QMP socket can invent a command line and
 * answers; root would open what they name. So a QEMU of another user gets no more than it has: what it is to
 * write is what it really has open for that, and what it only read is opened with its user's rights.
 */
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  statSync,
} from "node:fs";
import { openFor, type ProcessId } from "../../platform/process-id.ts";
import { type UserRights, userOf, withRightsOf } from "../../platform/user-rights.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { identityOf } from "../folder/file-identity.ts";

/** A file or folder that the VM's QEMU may use. What is done to it later is done to this one, not to its path. */
export interface QemuFile {
  /** Absolute, with all links resolved. */
  path: string;
  dev: bigint;
  ino: bigint;
  /** As vm/folder/file-identity.ts has it. */
  identity: string;
}

interface OpenFile {
  stat: Pick<BigIntStats, "dev" | "ino">;
  writable: boolean;
}

function invalid(message: string, hint: string): MigrateError {
  return new MigrateError("vm-invalid", message, { side: "source", hint });
}

export class QemuFiles {
  /** The user that QEMU runs as, if that is another than this program's; null if it may do what this one may. */
  readonly user: UserRights | null;
  readonly #open: OpenFile[];
  /** Its process, if that sees other mounts than this one. */
  readonly #elsewhere: number | null;

  private constructor(user: UserRights | null, open: OpenFile[], elsewhere: number | null) {
    this.user = user;
    this.#open = open;
    this.#elsewhere = elsewhere;
  }

  /**
   * Looks at the process behind a QMP socket, which `listenerUid` made. Throws MigrateError "vm-invalid" if it is a
   * user's whose rights this process cannot take on, or if it is not clear whose it is.
   */
  static of(process: ProcessId, listenerUid: number): QemuFiles {
    const own = globalThis.process.geteuid!();
    const user = userOf(process.pid);
    if (user === null) throw invalid("The VM's QEMU has ended", "Look for the VM with migrate ls.");
    const others = new Set([listenerUid, ...user.uids].filter((uid) => uid !== 0));
    const [uid = 0, ...more] = others;
    if (more.length > 0) {
      throw invalid(
        `It is not clear whose the VM's QEMU is: users ${[...others].join(" and ")} have a part in it`,
        "Start it as one user.",
      );
    }
    if (uid === own || (uid === 0 && own === 0)) return new QemuFiles(null, [], null);
    if (own !== 0) {
      throw invalid(
        `The VM's QEMU is another user's (${uid})`,
        "Run migrate as root, or as the user who runs QEMU.",
      );
    }
    const elsewhere = seesOtherMounts(process.pid) ? process.pid : null;
    return new QemuFiles({ ...user, uid }, openFilesOf(process.pid), elsewhere);
  }

  /**
   * A file that QEMU writes. Throws MigrateError "vm-invalid" if there is no such regular file, or if QEMU does not have
   * it open for writing, and as node:fs does.
   */
  disk(path: string): QemuFile {
    const file = described(realpathSync(path), path);
    if (this.user !== null && !this.#hasOpen(file, true))
      throw this.#notIts(path, "does not have it open for writing");
    return file;
  }

  /** A file that QEMU only read. Throws as `disk`, if QEMU neither has it open nor may its user read it. */
  boot(path: string): QemuFile {
    const { user } = this;
    if (user === null) return described(realpathSync(path), path);
    try {
      return withRightsOf(user, () => described(realpathSync(path), path));
    } catch (thrown) {
      if (!isDenied(thrown)) throw thrown;
      const file = described(realpathSync(path), path);
      if (this.#hasOpen(file, false) || this.#reads(user, file)) return file;
      throw this.#notIts(path, "may not read it");
    }
  }

  /** Whether its user can read the very file in what QEMU sees of the file systems, if that is not what we see. */
  #reads(user: UserRights, { path, dev, ino }: QemuFile): boolean {
    return this.#within(user, path, (at) => {
      const seen = described(at, path);
      return seen.dev === dev && seen.ino === ino;
    });
  }

  /** Does `look` with a path without links as QEMU sees it, with its user's rights; false if there is no such thing. */
  #within(user: UserRights, path: string, look: (at: string) => boolean): boolean {
    if (this.#elsewhere === null) return false;
    // Opened before the rights are gone: what is below it is then reached with them alone.
    const root = openSync(`/proc/${this.#elsewhere}/root`, O_PATH | constants.O_DIRECTORY);
    try {
      return withRightsOf(user, () => look(`/proc/self/fd/${root}${path}`));
    } catch {
      return false;
    } finally {
      closeSync(root);
    }
  }

  /** Does `work` with a file that QEMU may read, open for reading. Throws as `boot`, and what `work` throws. */
  read<T>(path: string, work: (fd: number) => T): T {
    const { dev, ino, path: real } = this.boot(path);
    const fd = openSync(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(fd, { bigint: true });
      if (stat.dev !== dev || stat.ino !== ino) throw this.#notIts(path, "had another file there");
      return work(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** A folder that belongs to QEMU's own user, or to one of `owners`. Throws as `disk`. */
  folder(path: string, owners: readonly number[]): QemuFile {
    const file = described(realpathSync(path), path, "folder");
    if (this.user !== null && ![this.user.uid, ...owners].includes(file.uid)) {
      throw this.#notIts(path, "does not own it");
    }
    return file;
  }

  /** Whether QEMU's user may connect to a unix socket: unix(7), it needs the right to write to it. */
  mayConnect(socket: string): boolean {
    const { user } = this;
    if (user === null) return true;
    const mayWrite = (at: string) => {
      const { mode, uid, gid } = statSync(at);
      const isOfGroup = gid === user.gid || user.groups.includes(gid);
      return (mode & (uid === user.uid ? 0o200 : isOfGroup ? 0o020 : 0o002)) !== 0;
    };
    try {
      return withRightsOf(user, () => mayWrite(socket));
    } catch {
      return this.#within(user, socket, mayWrite);
    }
  }

  #hasOpen({ dev, ino }: QemuFile, forWriting: boolean): boolean {
    return this.#open.some(
      ({ stat, writable }) => stat.dev === dev && stat.ino === ino && (writable || !forWriting),
    );
  }

  #notIts(path: string, why: string): MigrateError {
    return invalid(
      `${path} is named by a QEMU of user ${this.user?.uid}, which ${why}`,
      "Only what a VM's QEMU may use itself is moved with it.",
    );
  }
}

/** The regular file, or the folder, at a path without links. Throws MigrateError "vm-invalid", and as node:fs does. */
function described(
  path: string,
  shownAs: string,
  kind: "file" | "folder" = "file",
): QemuFile & { uid: number } {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (kind === "file" ? !stat.isFile() : !stat.isDirectory()) {
      throw invalid(`${shownAs} is not a regular ${kind}`, "Only VMs on image files can be moved.");
    }
    return { path, dev: stat.dev, ino: stat.ino, identity: identityOf(fd), uid: Number(stat.uid) };
  } finally {
    closeSync(fd);
  }
}

/** open(2), O_PATH: a place to begin at, whatever may be done there. */
const O_PATH = 0o10000000;

function isDenied(thrown: unknown): boolean {
  const { code } = thrown as { code?: unknown };
  return code === "EACCES" || code === "EPERM";
}

/** Whether a process has a mount namespace of its own (mount_namespaces(7)). */
function seesOtherMounts(pid: number): boolean {
  return readlinkSync(`/proc/${pid}/ns/mnt`) !== readlinkSync("/proc/self/ns/mnt");
}

/** What a process has open: proc(5), fd. */
function openFilesOf(pid: number): OpenFile[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    const stat = statSync(`/proc/${pid}/fd/${fd}`, { bigint: true, throwIfNoEntry: false });
    const use = openFor(pid, fd);
    return stat === undefined || use === null ? [] : [{ stat, writable: use === "writes" }];
  });
}
