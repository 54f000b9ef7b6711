/**
 * Opening files with the rights of another user, for a while and on this thread alone: setfsuid(2), setfsgid(2),
 * setgroups(2) by syscall(2), since the C library changes all threads. Without a file system uid of 0 the kernel
 * takes the capabilities away that go past a file's rights (capabilities(7), "Effect of user ID changes").
 */
import { readFileSync } from "node:fs";
import { getGroups, setFsGid, setFsUid, setGroups, systemError } from "./libc.ts";

export interface UserRights {
  uid: number;
  gid: number;
  /** Further groups. */
  groups: readonly number[];
}

/** What a process has: its user ids (real, effective, saved, of the file system), and the rights of its real user. */
export interface ProcessUser extends UserRights {
  uids: readonly number[];
}

/** The user of a process: proc(5), status. Null if there is no such process, or it does not show. */
export function userOf(pid: number): ProcessUser | null {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, "latin1");
  } catch {
    return null;
  }
  const numbers = (key: string) =>
    new RegExp(`^${key}:\\s*(.*)$`, "m").exec(status)?.[1]?.trim().split(/\s+/).filter(Boolean).map(Number);
  const [uids, gids, groups] = [numbers("Uid"), numbers("Gid"), numbers("Groups")];
  const [uid, gid] = [uids?.[0], gids?.[0]];
  if (uids === undefined || uid === undefined || gid === undefined || groups === undefined) return null;
  return { uid, gid, groups, uids };
}

/**
 * Does `work`, which must not be asynchronous, with what that user may do to files, and returns what it returns.
 * Needs root. Throws a SystemError if the rights cannot be taken on, and what `work` throws.
 */
export function withRightsOf<T>({ uid, gid, groups }: UserRights, work: () => T): T {
  const before = checked("getgroups", getGroups());
  const gidBefore = setFsGid(-1);
  try {
    checked("setgroups", setGroups(groups));
    setFsGid(gid);
    setFsUid(uid);
    // The two calls tell of no failure (setfsuid(2), BUGS): what holds now does.
    if (setFsUid(-1) !== uid || setFsGid(-1) !== gid) throw systemError("setfsuid", -1);
    return work();
  } finally {
    setFsUid(0);
    setFsGid(gidBefore);
    setGroups(before);
  }
}

function checked<T>(call: string, answer: T | number): T {
  if (typeof answer === "number" && answer < 0) throw systemError(call, answer);
  return answer as T;
}
