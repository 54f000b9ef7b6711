/**
 * A user for one VM, whom nobody else on this host is: a number of a range that no account has, taken at random.
 * What it is given of the VM's files it has by its group, so that they stay the property of who runs
 * `migrate serve`; only the state of a virtual TPM, which swtpm makes and replaces, is its own.
 */

import { randomInt } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
} from "node:fs";
import { join } from "node:path";
import { MigrateError } from "../../protocol/errors.ts";

/** Users and groups have the same numbers. */
export interface UserRange {
  first: number;
  last: number;
}

export interface VmUser {
  uid: number;
  gid: number;
}

/**
 * Ranges that are looked for, in order: within 1879048192 to 2147483647, of which the systemd project's list of
 * users and groups says that nothing uses it (systemd.io/UIDS-GIDS); in a user namespace with fewer numbers, that
 * of systemd's own users for a time (DynamicUser=).
 */
const usualRanges: readonly UserRange[] = [
  { first: 1_900_000_000, last: 1_900_065_535 },
  { first: 61_184, last: 65_519 },
];
/** How many numbers are tried before the range is said to be used up. */
const tries = 1000;

/** The first of the usual ranges that this user namespace has; null if it has none. user_namespaces(7). */
export function usualRange(): UserRange | null {
  const maps = ["uid_map", "gid_map"].map((name) => readFileSync(`/proc/self/${name}`, "latin1"));
  return usualRanges.find((range) => maps.every((map) => holds(map, range))) ?? null;
}

/** Whether a map of user_namespaces(7) has all numbers of the range, in one line. */
export function holds(map: string, { first, last }: UserRange): boolean {
  return map.split("\n").some((line) => {
    const [from = Number.NaN, , count = 0] = line.trim().split(/\s+/).map(Number);
    return first >= from && last < from + count;
  });
}

/**
 * A user of the range that has no process, and to whom nothing in these folders belongs. Throws MigrateError
 * "policy" if there seems to be none.
 */
export function leaseUser({ first, last }: UserRange, folders: readonly string[]): VmUser {
  const used = new Set([...usersOfProcesses(), ...folders.flatMap(groupsWithin)]);
  for (let n = 0; n < tries; n += 1) {
    const number = randomInt(first, last + 1);
    if (!used.has(number)) return { uid: number, gid: number };
  }
  throw new MigrateError("policy", "the destination has no user left for the VM to run as", {
    side: "destination",
    hint: `Remove VMs that are not needed, or serve with a larger range of users than ${first}-${last} (--vm-users).`,
  });
}

function usersOfProcesses(): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const stat = lstatSync(`/proc/${name}`, { throwIfNoEntry: false });
    return stat === undefined ? [] : [stat.uid, stat.gid];
  });
}

function groupsWithin(folder: string): number[] {
  try {
    return readdirSync(folder).flatMap((name) => {
      const stat = lstatSync(join(folder, name), { throwIfNoEntry: false });
      return stat === undefined ? [] : [stat.gid, stat.uid];
    });
  } catch {
    // Not made yet.
    return [];
  }
}

/** What a VM's user is given of a file or folder. */
const gifts = {
  /** A folder through which it reaches its files: it can neither list nor change it. */
  "way in": { mode: 0o710, folder: true, owned: false },
  /** The run folder: it makes sockets there, and cannot remove or replace what is not its own. */
  sockets: { mode: 0o1770, folder: true, owned: false },
  /** Its own, for what it makes and replaces. */
  state: { mode: 0o700, folder: true, owned: true },
  "state file": { mode: 0o600, folder: false, owned: true },
  disk: { mode: 0o660, folder: false, owned: false },
  boot: { mode: 0o640, folder: false, owned: false },
} as const;

/**
 * Gives a VM's user its part of a file or folder of ours. Follows no link in the last part of the path. Throws
 * MigrateError "store-failed" if the file system does not let files be given away, "vm-invalid" for a state file that
 * is no plain file or has another name elsewhere, and as node:fs does.
 */
export function give(what: keyof typeof gifts, path: string, user: VmUser): void {
  const { mode, folder, owned } = gifts[what];
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | (folder ? O_DIRECTORY : 0));
  try {
    const stat = fstatSync(fd);
    // A user of the VM made it, and may have made something else there.
    if (owned && !folder && (!stat.isFile() || stat.nlink > 1))
      throw new MigrateError("vm-invalid", `${path} is no plain file, or has another name elsewhere`);
    fchownSync(fd, owned ? user.uid : stat.uid, user.gid);
    fchmodSync(fd, mode);
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== "EPERM") throw cause;
    throw new MigrateError("store-failed", "the destination's file system gives no files to a VM's user", {
      side: "destination",
      hint: `It is that of ${path}. Use another for the store and MIGRATE_HOME, or serve with --vm-users off.`,
      cause,
    });
  } finally {
    closeSync(fd);
  }
}
