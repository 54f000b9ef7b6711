/**
 * Files that hold secrets, destroyed: overwritten where they lie, made durable, and only then taken away. A file system
 * that copies on write, a snapshot, or a disk that spreads its wear may keep what was there before: that is out of
 * reach from here.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  unlinkSync,
  write,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { nextData, nextHole } from "../../platform/files/holes.ts";
import { inPinnedFolder, syncFolder } from "../../platform/files/rename.ts";
import { fileIdentity, identityOf, isSameFile } from "../folder/file-identity.ts";
import { swtpmFile } from "../folder/own-files.ts";

const pieceBytes = 1024 * 1024;
const zeros = Buffer.alloc(pieceBytes);
/** What became of a file. */
export interface ErasedFile {
  /** The name that was taken away. */
  path: string;
  inode: bigint;
  device: bigint;
  /** Under how many other names it can be read as it was: 0 of one that was overwritten. */
  readableNames: bigint;
}

/** Where nothing more can be written, the file is taken away all the same. */
const withoutRoom: readonly unknown[] = ["ENOSPC", "EDQUOT"];

const writeTo = promisify(write);
const sync = promisify(fsync);

/**
 * Destroys the file at `path` if it has this identity (vm/folder/file-identity.ts); null stands for any file. What holds
 * data is overwritten with zeros, holes stay holes. Durable when it resolves; a file that is not there is destroyed
 * already, and whoever was killed on the way begins again. Of a file that has other names as well (hard links) this name
 * alone is taken away: the others are somebody's, and nobody named them. Resolves to what
 * became of it, null if it was not there. Rejects as node:fs does.
 */
export async function eraseFile(path: string, identity: string | null): Promise<ErasedFile | null> {
  const isIt = (at: string) =>
    identity === null
      ? lstatSync(at, { throwIfNoEntry: false })?.isFile() === true
      : isSameFile(fileIdentity(at), identity);
  const fd = pinned(path, (at) =>
    isIt(at) ? openSync(at, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK) : null,
  );
  if (fd === null) return null;
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return null;
    const isAlone = stat.nlink === 1;
    if (isAlone) await overwrite(fd);
    pinned(path, (at, folder) => {
      if (isIt(at)) unlinkSync(at);
      syncFolder(folder);
    });
    const { ino, dev, nlink } = fstatSync(fd, { bigint: true });
    return { path, inode: ino, device: dev, readableNames: isAlone ? 0n : nlink };
  } finally {
    closeSync(fd);
  }
}

/**
 * Destroys what swtpm keeps in a state folder (swtpm(8)), if the folder has this identity; null stands for any. Then the
 * folder is taken away, unless something else lies in it. As `eraseFile` otherwise.
 */
export async function eraseState(folder: string, identity: string | null): Promise<ErasedFile[]> {
  const fd = openState(folder, identity);
  if (fd === null) return [];
  const erased: ErasedFile[] = [];
  try {
    // Whatever the folder's name leads to meanwhile.
    const inside = `/proc/self/fd/${fd}`;
    for (const name of stateNames(inside)) {
      const left = await eraseFile(join(inside, name), null);
      if (left !== null) erased.push({ ...left, path: join(folder, name) });
    }
  } finally {
    closeSync(fd);
  }
  try {
    if (identity === null || isSameFile(fileIdentity(folder), identity)) rmdirSync(folder);
  } catch {
    // Not there, or not empty.
  }
  return erased;
}

/** Reads what `eraseState` would destroy but locks: name and content; nothing if it is not there. Throws as node:fs does. */
export function readState(folder: string, identity: string | null): { name: string; bytes: Buffer }[] {
  const fd = openState(folder, identity);
  if (fd === null) return [];
  try {
    const inside = `/proc/self/fd/${fd}`;
    return stateNames(inside)
      .filter((name) => !name.startsWith("."))
      .map((name) => ({ name, bytes: readFileSync(join(inside, name)) }));
  } finally {
    closeSync(fd);
  }
}

/** Null if there is no such folder, or it has another identity. */
function openState(folder: string, identity: string | null): number | null {
  let fd: number;
  try {
    fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (thrown) {
    if (isAbsent(thrown)) return null;
    throw thrown;
  }
  if (identity === null || isSameFile(identityOf(fd), identity)) return fd;
  closeSync(fd);
  return null;
}

function stateNames(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => swtpmFile.test(name))
    .sort();
}

/** `work` gets the file's path through its pinned folder, and that folder; null if there is no such folder. */
function pinned<T>(path: string, work: (at: string, folder: string) => T): T | null {
  try {
    return inPinnedFolder(path, (folder, name) => work(join(folder, name), folder));
  } catch (thrown) {
    if (isAbsent(thrown)) return null;
    throw thrown;
  }
}

function isAbsent(thrown: unknown): boolean {
  const { code } = thrown as { code?: unknown };
  return code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP";
}

async function overwrite(fd: number): Promise<void> {
  try {
    for (let at = nextData(fd, 0); at !== null; at = nextData(fd, at)) {
      for (const end = nextHole(fd, at); at < end; ) {
        at += (await writeTo(fd, zeros, 0, Math.min(pieceBytes, end - at), at)).bytesWritten;
      }
    }
  } catch (thrown) {
    if (!withoutRoom.includes((thrown as { code?: unknown }).code)) throw thrown;
  }
  await sync(fd);
}
