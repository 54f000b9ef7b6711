/**
 * Which files of a store are looked through for blocks, and which of them have to be read for that.
 *
 * Candidates are regular files of ours that lie in a VM's folder directly: what is under way has a
 * folder that begins with a point, and a TPM's state one below the VM's. In a store that others may
 * write to as well nothing of theirs is read, and no link is followed.
 */
import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../protocol/limits.ts";
import { manifestName } from "../../../protocol/names.ts";
import type { IndexedFile } from "./block-index.ts";

/** Most files of a store that are kept an index of; more are left out. */
const mostFiles = 65_536;

const readOnly = constants.O_RDONLY | constants.O_NOFOLLOW;

export interface Candidate {
  /** Folder and name, relative to the store. */
  path: string;
  stamp: string;
  /** When the file was last changed, in milliseconds since 1970 (st_ctime). */
  changedAtMs: number;
}

export interface ScanPlan {
  /** Files to read. */
  read: Candidate[];
  /** Indexed files that are found under another path now: their folder was renamed. */
  moved: { from: string; to: string }[];
  /** Indexed files that are no more. */
  gone: string[];
}

/** Says which file it is and whether it has changed, from any kind of stat of it. */
export function stampOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}

/** The candidates of a store, by their paths. What cannot be looked at is left out; never throws. */
export function candidatesIn(store: string): Candidate[] {
  const found: Candidate[] = [];
  for (const folder of namesIn(store)) {
    const stat = statOf(join(store, folder));
    if (!stat?.isDirectory() || !isOurs(stat)) continue;
    for (const name of namesIn(join(store, folder))) {
      if (name === manifestName || found.length === mostFiles) continue;
      const path = join(folder, name);
      const file = statOf(join(store, path));
      if (file === undefined || !isCandidate(file)) continue;
      found.push({ path, stamp: stampOf(file), changedAtMs: Number(file.ctimeMs) });
    }
  }
  return found;
}

/**
 * What a scan has to do, from what is indexed and what is there. A file that changed since it was read
 * is read again once its last change is `quietMs` old: a VM that runs changes its disk all the time, and
 * what is known of it is good for most of it meanwhile.
 */
export function planScan(
  indexed: readonly IndexedFile[],
  candidates: readonly Candidate[],
  nowMs: number,
  quietMs: number,
): ScanPlan {
  const plan: ScanPlan = { read: [], moved: [], gone: [] };
  const there = new Set(candidates.map(({ path }) => path));
  const known = new Map(indexed.map((file) => [file.path, file]));
  const lost = new Map(
    indexed.filter(({ path }) => !there.has(path)).map(({ stamp, path }) => [stamp, path]),
  );
  for (const candidate of candidates) {
    const { path, stamp, changedAtMs } = candidate;
    const file = known.get(path);
    const from = lost.get(stamp);
    if (file?.stamp === stamp) continue;
    if (from !== undefined) {
      lost.delete(stamp);
      plan.moved.push({ from, to: path });
    } else if (file === undefined || isQuiet(changedAtMs, nowMs, quietMs)) {
      plan.read.push(candidate);
    }
  }
  const movedFrom = new Set(plan.moved.map(({ from }) => from));
  plan.gone = indexed.map(({ path }) => path).filter((path) => !there.has(path) && !movedFrom.has(path));
  return plan;
}

/** A change that lies ahead was made by another clock, and says nothing. */
function isQuiet(changedAtMs: number, nowMs: number, quietMs: number): boolean {
  return Math.abs(nowMs - changedAtMs) >= quietMs;
}

/**
 * Opens a candidate for reading; null if it is none (any more), or `path` is not the path of one.
 * Neither a link in place of the folder nor one in place of the file is followed, even if it was put
 * there just now. The caller closes.
 */
export function openCandidate(store: string, path: string): number | null {
  const [folder = "", name = "", ...more] = path.split("/");
  if (more.length > 0 || !isPlain(folder) || !isPlain(name) || name === manifestName) return null;
  return openInFolder(join(store, folder), name, isOurs, isCandidate);
}

/** A test that a folder or a file must pass once it is open. */
type Test = (stat: BigIntStats) => boolean;

/**
 * Opens the file `name` of a folder for reading; null if there is none, or either does not pass. Neither a
 * link in place of the folder nor one in place of the file is followed. The caller closes.
 */
export function openInFolder(folder: string, name: string, passes: Test, filePasses: Test): number | null {
  let folderFd: number | undefined;
  try {
    folderFd = openSync(folder, readOnly | constants.O_DIRECTORY);
    if (!passes(fstatSync(folderFd, { bigint: true }))) return null;
    // O_NONBLOCK: a FIFO under this name must not hold us up. proc_pid_fd(5) stands for openat(2).
    const fd = openSync(`/proc/self/fd/${folderFd}/${name}`, readOnly | constants.O_NONBLOCK);
    if (filePasses(fstatSync(fd, { bigint: true }))) return fd;
    closeSync(fd);
    return null;
  } catch {
    return null;
  } finally {
    if (folderFd !== undefined) closeSync(folderFd);
  }
}

function isCandidate(stat: BigIntStats): boolean {
  return stat.isFile() && isOurs(stat) && stat.size >= limits.blockBytes;
}

function isOurs(stat: BigIntStats): boolean {
  return stat.uid === BigInt(process.geteuid?.() ?? -1);
}

function isPlain(name: string): boolean {
  return name !== "" && !name.startsWith(".");
}

function statOf(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter(isPlain).sort();
  } catch {
    return [];
  }
}
