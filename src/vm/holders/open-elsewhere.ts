/**
 * Whether anybody has a file open or uses it, be it only to read: what is to be deleted is not taken from under others.
 * This program reading counts as nobody: a serve reads its store for its index, and a send is known to the journal.
 */
import { type BigIntStats, statSync } from "node:fs";
import { type Holder, SoughtFiles } from "./holder.ts";
import { kernelHolders } from "./kernel-holders.ts";
import { processHolders } from "./process-holders.ts";

export interface OpenElsewhere {
  path: string;
  /** With an article, as in "python3 (process 12)". */
  who: string;
}

/**
 * Which of these files others than this process have open, mapped, or made a disk of, one answer for each; what is not
 * there is used by nobody. Processes of other users show to root alone. Never throws.
 */
export function openElsewhere(paths: readonly string[]): OpenElsewhere[] {
  const there = paths.flatMap((path) => {
    const stat = statOf(path);
    return stat === null ? [] : [{ path, dev: stat.dev, ino: stat.ino }];
  });
  if (there.length === 0) return [];
  const sought = new SoughtFiles(there);
  const { holders } = processHolders(sought, { own: [process.pid], onlyVms: false });
  const first = new Map<number, Holder>();
  for (const holder of [...holders, ...kernelHolders(sought)]) {
    if (first.has(holder.file) || isOwnReading(holder)) continue;
    first.set(holder.file, holder);
  }
  return [...first].map(([file, { who }]) => ({ path: there[file]!.path, who }));
}

function isOwnReading({ pid, writes, needsIt }: Holder): boolean {
  if (pid === undefined || writes || needsIt) return false;
  const [theirs, ours] = [statOf(`/proc/${pid}/exe`), statOf("/proc/self/exe")];
  return theirs !== null && ours !== null && theirs.dev === ours.dev && theirs.ino === ours.ino;
}

function statOf(path: string): BigIntStats | null {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return null;
  }
}
