/**
 * Landlock: what a process may reach of the files, the network and other processes, given up by itself and for
 * good; no right is needed for it. landlock(7); linux/landlock.h.
 */
import { closeSync, openSync } from "node:fs";
import { systemError } from "../libc.ts";
import { attempt, call } from "./kernel.ts";

const LANDLOCK_CREATE_RULESET_VERSION = 1;
const LANDLOCK_RULE_PATH_BENEATH = 1;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;

/** LANDLOCK_ACCESS_FS_*: execute is bit 0, and so on. */
const access = {
  execute: 1 << 0,
  writeFile: 1 << 1,
  readFile: 1 << 2,
  readDir: 1 << 3,
  removeFile: 1 << 5,
  makeReg: 1 << 8,
  makeSock: 1 << 9,
  truncate: 1 << 14,
  ioctlDev: 1 << 15,
} as const;
/** All that a file itself, and no folder, can have. */
const ofFiles = access.execute | access.writeFile | access.readFile | access.truncate | access.ioctlDev;
const reading = access.readFile | access.readDir;
const writing = access.writeFile | access.truncate;
const making = access.removeFile | access.makeReg | access.makeSock;

/** What may be done with the files in a folder, or with a file. */
export const rights = {
  read: reading,
  programs: reading | access.execute,
  write: reading | writing,
  /** Files and sockets may be made in it, and removed. */
  own: reading | writing | making,
  device: reading | writing | access.ioctlDev,
} as const;
export type Right = keyof typeof rights;

/** The number of rights that are handled since ABI 1 (bits 0 to 12), 2 (refer), 3 (truncate) and 5 (ioctl). */
function handledFiles(abi: number): number {
  const bits = abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13;
  return 2 ** bits - 1;
}

/** The version of this kernel's Landlock; 0 if it has none. */
export function landlockVersion(): number {
  return Math.max(0, attempt("landlock_create_ruleset", null, 0, LANDLOCK_CREATE_RULESET_VERSION));
}

export interface Reach {
  files: readonly { path: string; right: Right }[];
  /** False: no TCP connection is made or taken (since Linux 6.7). */
  network: boolean;
}

/**
 * From here on the calling thread, and what it becomes, reaches these files alone, and signals no process that is
 * not its own (since Linux 6.12). Paths that are not there are passed over. no_new_privs must be set. Returns
 * false if the kernel has no Landlock.
 */
export function restrictTo({ files, network }: Reach): boolean {
  const abi = landlockVersion();
  if (abi === 0) return false;
  const handled = handledFiles(abi);
  const bothWaysOfTcp = 3n;
  const signalsAndAbstractSockets = 3n;
  const attributes = BigUint64Array.of(
    BigInt(handled),
    abi >= 4 && !network ? bothWaysOfTcp : 0n,
    abi >= 6 ? signalsAndAbstractSockets : 0n,
  );
  const bytes = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
  const ruleset = call("landlock_create_ruleset", new Uint8Array(attributes.buffer, 0, bytes), bytes, 0);
  try {
    for (const { path, right } of files) allow(ruleset, path, rights[right] & handled);
    call("landlock_restrict_self", ruleset, 0);
  } finally {
    closeSync(ruleset);
  }
  return true;
}

function allow(ruleset: number, path: string, allowed: number): void {
  let fd: number;
  try {
    fd = openSync(path, O_PATH | O_CLOEXEC);
  } catch (thrown) {
    if ((thrown as { code?: unknown }).code === "ENOENT") return;
    throw thrown;
  }
  try {
    const rule = (bits: number) => {
      // A packed structure: u64 and i32.
      const structure = new Uint8Array(12);
      const view = new DataView(structure.buffer);
      view.setBigUint64(0, BigInt(bits), true);
      view.setInt32(8, fd, true);
      return attempt("landlock_add_rule", ruleset, LANDLOCK_RULE_PATH_BENEATH, structure, 0);
    };
    // EINVAL: a file, which has no rights of folders.
    const answer = rule(allowed) < 0 ? rule(allowed & ofFiles) : 0;
    if (answer < 0) throw systemError("landlock_add_rule", answer);
  } finally {
    closeSync(fd);
  }
}
