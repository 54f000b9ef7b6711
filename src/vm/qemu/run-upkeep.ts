/**
 * Keeps what VMs leave in the run folders from growing without end: a guest writes to the log of its serial line
 * as it likes, and of every VM that has ended a folder is left.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { statBlockBytes } from "../../platform/files/filesystem.ts";
import { punchHole } from "../../platform/files/holes.ts";
import { peerProcess } from "../../platform/peer-process.ts";
import { isRunning } from "../../platform/process-id.ts";
import { qmpSocketName, RunFolder } from "./run-folder.ts";

export const runKeeps = {
  /** A log that takes more than this on the disk gives back its beginning. */
  logBytes: 8 * 1024 * 1024,
  /** So much of its end stays. */
  logTailBytes: 4 * 1024 * 1024,
  /** Folders of VMs that have ended, the newest ones, for as long as this: somebody may look for a reason. */
  deadFolders: 16,
  deadMs: 7 * 24 * 3_600_000,
} as const;

/** A folder in which nothing was noted yet may be just being made. */
const makingMs = 3_600_000;

/**
 * Shortens logs and removes folders of VMs that have ended; never throws. `isOpen` tells of a session whether it
 * has not ended: its folder stays.
 */
export function keepRunFolders(home: string, isOpen: (session: string) => boolean, nowMs: number): void {
  for (const folder of allIn(home)) {
    try {
      for (const name of readdirSync(folder.path)) {
        if (name.endsWith(".log")) shorten(join(folder.path, name));
      }
    } catch {
      // It went, or cannot be looked at: then nothing of it is touched.
    }
  }
  for (const [i, { folder, changedAtMs }] of deadRunFolders(home, isOpen, nowMs).entries()) {
    if (i < runKeeps.deadFolders && nowMs - changedAtMs < runKeeps.deadMs) continue;
    try {
      folder.remove();
    } catch {
      // The next time, or a person.
    }
  }
}

export interface DeadRunFolder {
  folder: RunFolder;
  changedAtMs: number;
}

/** The run folders of VMs that have certainly ended, the newest first; `isOpen` as above. Never throws. */
export function deadRunFolders(
  home: string,
  isOpen: (session: string) => boolean,
  nowMs: number,
): DeadRunFolder[] {
  const dead = allIn(home).flatMap((folder) => {
    try {
      const changedAtMs = statSync(folder.path).mtimeMs;
      return isDead(folder, isOpen, nowMs - changedAtMs) ? [{ folder, changedAtMs }] : [];
    } catch {
      return [];
    }
  });
  return dead.sort((one, other) => other.changedAtMs - one.changedAtMs);
}

function allIn(home: string): RunFolder[] {
  try {
    return RunFolder.all(home);
  } catch {
    return [];
  }
}

/** True if certainly none of the VM's processes is there, and nothing is to come of its session. */
function isDead(folder: RunFolder, isOpen: (session: string) => boolean, ageMs: number): boolean {
  const noted = folder.noted();
  // What cannot be read may be the only word of a VM that runs.
  if (noted === null || isOpen(noted.session)) return false;
  if (noted.qemu === null && ageMs < makingMs) return false;
  for (const id of [noted.qemu, noted.swtpm]) if (id !== null && isRunning(id)) return false;
  try {
    peerProcess(folder.socket(qmpSocketName));
    return false;
  } catch (thrown) {
    // Nobody listens there any more; any other answer is no proof of that.
    return ["ENOENT", "ECONNREFUSED"].includes((thrown as { code?: string }).code ?? "");
  }
}

/**
 * Gives back the beginning of a log that has grown too long: it reads as zeros from then on (fallocate(2),
 * FALLOC_FL_PUNCH_HOLE). Who writes goes on at the end, and not a byte of the end is lost, as with a log that is
 * cut off or copied.
 */
function shorten(path: string): void {
  // No link is followed, and no pipe waited for.
  const fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { blocks, size } = fstatSync(fd);
    if (blocks * statBlockBytes <= runKeeps.logBytes || size <= runKeeps.logTailBytes) return;
    punchHole(fd, 0, size - runKeeps.logTailBytes);
  } finally {
    closeSync(fd);
  }
}
