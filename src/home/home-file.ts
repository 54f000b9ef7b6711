/**
 * A file in the home: read only when nobody else could have read or written it, made or replaced
 * whole or not at all, and changed by one process at a time.
 *
 * All of this is synchronous but the waiting for a lock: the files are a few KiB.
 */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { tryFlock } from "../platform/files/locks.ts";
import { syncFolder } from "../platform/files/rename.ts";
import { MigrateError } from "../protocol/errors.ts";

/** No file in the home that is read whole is longer than this. */
export const homeFileMaxBytes = 1024 * 1024;

/** How long a writer waits for another one, in milliseconds; a write takes a few. */
const lockPatienceMs = 10_000;
const lockRetryMs = 10;

/**
 * The text of a file of ours, or null if there is none.
 *
 * `forbiddenMode` are the permission bits that make it unusable: 0o077 for a secret, 0o022 for a file
 * that others may read but not write. Throws MigrateError "home-unusable" if such a bit is set, or
 * the file belongs to another user, is no regular file or a symbolic link, is longer than
 * homeFileMaxBytes, or cannot be read.
 */
export function readHomeFile(path: string, forbiddenMode: number): string | null {
  let fd: number;
  try {
    // O_NONBLOCK: opening a FIFO of this name must not wait for its writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const code = errnoOf(cause);
    if (code === "ENOENT") return null;
    if (code === "ELOOP") throw unusable(`${path} is a symbolic link.`, "Put the file itself there.", cause);
    throw unusable(`${path} cannot be read (${code ?? "unknown error"}).`, `Run ls -l ${path}.`, cause);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw unusable(`${path} is not a file.`, "Move away what stands there.");
    if (stat.uid !== process.getuid?.()) {
      throw unusable(`${path} belongs to another user (uid ${stat.uid}).`, `Run chown on ${path}.`);
    }
    if ((stat.mode & forbiddenMode) !== 0) {
      const done = (forbiddenMode & 0o044) === 0 ? "written" : "read";
      throw unusable(
        `${path} can be ${done} by other users (mode ${(stat.mode & 0o777).toString(8)}).`,
        `Make sure that nobody has used it, then run chmod 600 ${path}.`,
      );
    }
    if (stat.size > homeFileMaxBytes) {
      throw unusable(`${path} is longer than ${homeFileMaxBytes} bytes.`, "Restore it from a backup.");
    }
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes the file (mode 0600, durable) if there is none; false, and nothing changed, if there is one.
 *
 * It gets its name by link(2), not rename(2), which would replace what another process made in between. Throws MigrateError "home-unusable".
 */
export function createHomeFile(path: string, text: string): boolean {
  return publish(path, text, (temporary) => {
    try {
      linkSync(temporary, path);
      return true;
    } catch (cause) {
      if (errnoOf(cause) === "EEXIST") return false;
      throw cause;
    }
  });
}

/**
 * Puts the text in the place of the file (mode 0600, durable): a reader sees the old or the new text,
 * after a power cut too. Throws MigrateError "home-unusable".
 */
export function replaceHomeFile(path: string, text: string): void {
  publish(path, text, (temporary) => {
    renameSync(temporary, path);
    return true;
  });
}

/** True for the name of a temporary file of `path` that a crash may have left behind. */
export function isLeftover(path: string, name: string): boolean {
  return name.startsWith(`.${basename(path)}.`) && name.endsWith(".tmp");
}

/**
 * Does `work` while no other process or task does work under the same lock file, and returns its result.
 *
 * The lock is a flock(2), which the kernel takes back from a process that dies; so the empty lock file
 * stays where it is. Throws MigrateError "home-unusable" when another one holds the lock for ten seconds.
 */
export async function withHomeLock<T>(
  lockPath: string,
  work: () => T | Promise<T>,
  patienceMs = lockPatienceMs,
): Promise<T> {
  const fd = openLock(lockPath);
  try {
    const giveUpAtMs = performance.now() + patienceMs;
    while (!tryFlock(fd)) {
      if (performance.now() > giveUpAtMs) {
        const hint = "Look which migrate process hangs, for example with fuser on that file.";
        throw unusable(`Another process does not let go of ${lockPath}.`, hint);
      }
      await Bun.sleep(lockRetryMs);
    }
    return await work();
  } finally {
    closeSync(fd);
  }
}

function openLock(lockPath: string): number {
  try {
    return openSync(lockPath, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (cause) {
    throw unusable(`${lockPath} cannot be opened (${errnoOf(cause)}).`, "Remove it by hand.", cause);
  }
}

/** Writes a temporary file beside `path`, has `name` link or rename it, and removes it in any case. */
function publish(path: string, text: string, name: (temporary: string) => boolean): boolean {
  const suffix = `${process.pid}.${randomBytes(6).toString("hex")}.tmp`;
  const temporary = join(dirname(path), `.${basename(path)}.${suffix}`);
  try {
    // "wx" is O_CREAT | O_EXCL: it never writes through something that was put there.
    const fd = openSync(temporary, "wx", 0o600);
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    const named = name(temporary);
    rmSync(temporary, { force: true });
    // The file's bytes being safe says nothing of its name in the folder.
    syncFolder(dirname(path));
    return named;
  } catch (cause) {
    rmSync(temporary, { force: true });
    const hint = "Look for a full or read-only disk, and at who may write the folder.";
    throw unusable(`${path} cannot be written (${errnoOf(cause) ?? "unknown error"}).`, hint, cause);
  }
}

function errnoOf(cause: unknown): string | undefined {
  return (cause as NodeJS.ErrnoException | undefined)?.code;
}

function unusable(message: string, hint: string, cause?: unknown): MigrateError {
  return new MigrateError("home-unusable", message, { hint, cause });
}
