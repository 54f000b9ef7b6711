/**
 * A copy of a virtual TPM's state, for one look at it: in memory alone, never on a disk, and destroyed after it. Whoever is
 * killed meanwhile leaves it: so its folder is called after the process, and whoever comes next destroys those of the dead.
 *
 *     /dev/shm/migrate-ek-PID-START-NAMESPACE-XXXXXX/   of the user that made it
 *         state/                                        of the user that the program which reads it runs as
 */
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isRunning, processId } from "../../platform/process-id.ts";
import { usualRange } from "../confinement/vm-user.ts";
import { eraseFile } from "./erase.ts";

/** Where a file system in memory may be, the better place first: file-hierarchy(7). */
const memoryPlaces: readonly string[] = ["/dev/shm", "/run"];
/** statfs(2), f_type. */
const TMPFS_MAGIC = 0x01021994;
const prefix = "migrate-ek-";
/** Pid, start, and pid namespace of who made it: in another namespace the pid is somebody else's. */
const copyName = /^migrate-ek-(\d{1,10})-(\d{1,20})-(\d{1,20})-[A-Za-z0-9]{6}$/;
/** As earlier versions called it, which gave the folder itself away, and took a disk where there was no other place. */
const earlierName = /^migrate-ek-[A-Za-z0-9]{6}$/;
/** A look takes seconds: nobody uses what has not changed for a day. */
const surelyOverMs = 24 * 3_600_000;

/** The folder in which private copies are made: the first of `places` that is in memory and can be written; null without any. */
export function memoryFolder(places: readonly string[] = memoryPlaces): string | null {
  return places.find((place) => isInMemory(place)) ?? null;
}

/** Makes the folder of a copy in `memory`; its state is to lie in `state`, mode 0700. Throws as node:fs does. */
export function newPrivateCopy(memory: string): { folder: string; state: string } {
  const self = processId(process.pid);
  const name = `${prefix}${process.pid}-${self?.startTicks ?? 0}-${pidNamespace()}-`;
  const folder = mkdtempSync(join(memory, name));
  const state = join(folder, "state");
  mkdirSync(state, { mode: 0o700 });
  return { folder, state };
}

/** Destroys the copies that dead processes of this user left. Never rejects. */
export async function sweepPrivateCopies(
  places: readonly string[] = [...memoryPlaces, tmpdir()],
  nowMs = Date.now(),
): Promise<void> {
  for (const place of new Set(places)) {
    for (const name of namesIn(place)) {
      if (name.startsWith(prefix)) await destroyCopy(join(place, name), (stat) => isOver(name, stat, nowMs));
    }
  }
}

/** Destroys a copy; of what lies at that path only if `isIt` of it is true. No link is followed. Never rejects. */
export async function destroyCopy(
  folder: string,
  isIt: (stat: Owned) => boolean = () => true,
): Promise<void> {
  let fd: number | undefined;
  try {
    fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    if (!isIt(fstatSync(fd))) return;
    // Whatever its name leads to meanwhile.
    const inside = `/proc/self/fd/${fd}`;
    await eraseIn(inside);
    const state = openState(inside);
    if (state !== null) {
      try {
        await eraseIn(`/proc/self/fd/${state}`);
      } finally {
        closeSync(state);
      }
    }
    for (const name of readdirSync(inside)) rmSync(join(inside, name), { recursive: true, force: true });
    rmdirSync(folder);
  } catch {
    // Not there, or another one's: whoever comes next tries again.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

type Owned = { uid: number; ctimeMs: number };

/** Whether the folder of this name is this user's, and surely nobody's work any more. */
function isOver(name: string, { uid, ctimeMs }: Owned, nowMs: number): boolean {
  const isOld = nowMs - ctimeMs > surelyOverMs;
  const self = process.geteuid?.();
  if (earlierName.test(name)) return isOld && (uid === self || (self === 0 && isVmUser(uid)));
  const [, pid, startTicks, namespace] = copyName.exec(name) ?? [];
  if (pid === undefined || uid !== self) return false;
  if (namespace !== pidNamespace()) return isOld;
  try {
    return !isRunning({ pid: Number(pid), startTicks: Number(startTicks) });
  } catch {
    // proc(5) does not show it.
    return isOld;
  }
}

function isVmUser(uid: number): boolean {
  const range = usualRange();
  return range !== null && uid >= range.first && uid <= range.last;
}

/** Files alone, what else there is goes without being opened. */
async function eraseIn(folder: string): Promise<void> {
  for (const name of readdirSync(folder)) await eraseFile(join(folder, name), null);
}

function openState(folder: string): number | null {
  try {
    return openSync(join(folder, "state"), constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch {
    return null;
  }
}

function pidNamespace(): string {
  return statSync("/proc/self/ns/pid", { bigint: true }).ino.toString();
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function isInMemory(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return statfsSync(folder).type === TMPFS_MAGIC;
  } catch {
    return false;
  }
}
