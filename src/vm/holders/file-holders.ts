/**
 * Whether anybody but the VM itself uses its files. A second writer makes a copy that is no state the disk ever
 * had, and what is renamed or deleted is taken from whoever uses it as well.
 */
import { closeSync, constants, fstatSync, openSync, statfsSync } from "node:fs";
import { isOpenForWriting } from "../../platform/files/locks.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { printable } from "../../protocol/printable.ts";
import { type Holder, SoughtFiles } from "./holder.ts";
import { kernelHolders } from "./kernel-holders.ts";
import { processHolders } from "./process-holders.ts";

export interface VmPart {
  path: string;
  /** What sentences call it: they may be sent to the peer. */
  base: string;
  dev: bigint;
  ino: bigint;
  /** It belongs to this VM alone and leaves with it: nobody else may use it, and no other name may lead to it. */
  leaves: boolean;
}

/** statfs(2) f_type of file systems that other hosts share: they refuse leases for reasons of their own. */
const shared = new Set([0x6969, 0xff534d42, 0xfe534d42, 0x517b, 0x01021997, 0x00c36400]);

/**
 * Throws MigrateError, naming file and holder, if anybody but the programs `own` (pids) can change one of the
 * files, or needs one that leaves: "vm-running" for a VM, "vm-busy" for any other. Returns what could not be
 * looked at, as a sentence; null if all could.
 */
export function requireUnheld(parts: readonly VmPart[], own: readonly number[]): string | null {
  const files = parts.filter((part, index) => parts.findIndex((other) => isSame(part, other)) === index);
  requireOneName(files);
  // The VM's own programs have the files open themselves: then the kernel's answer says nothing of others.
  const answers = own.length === 0 ? files.map(writerOf) : files.map(() => null);
  const nobodyWrites = answers.every((answer) => answer === false);
  const sought = new SoughtFiles(files);
  const seen = processHolders(sought, { own, onlyVms: nobodyWrites });
  const holders = [...seen.holders, ...kernelHolders(sought)];
  const holder = holders.find(({ file, writes, needsIt }) => writes || (needsIt && files[file]!.leaves));
  if (holder !== undefined) throw heldBy(files[holder.file]!.base, holder);
  const hidden = answers.indexOf(true);
  if (hidden >= 0) throw heldByUnknown(files[hidden]!.base);
  if (seen.unseen === 0 || nobodyWrites) return null;
  return `what ${seen.unseen} processes of other users have open does not show to this user: a program among them that writes to the VM's files is not noticed (root sees them)`;
}

function isSame(one: VmPart, other: VmPart): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/** A file with a second name is not gone when the first one is, and could be started by the other. */
function requireOneName(files: readonly VmPart[]): void {
  for (const { path, base, leaves } of files) {
    const names = leaves ? withFile(path, (fd) => fstatSync(fd)) : null;
    if (names === null || !names.isFile() || names.nlink < 2) continue;
    throw new MigrateError("vm-invalid", `${base} has ${names.nlink} names (hard links), and is one file`, {
      side: "source",
      hint: `Remove the others, which this shows: find FOLDER -samefile ${printable(path)}. Or make it a file of its own: cp --sparse=always, then rename.`,
    });
  }
}

/** Whether somebody writes to it; null if that cannot be told. */
function writerOf({ path }: VmPart): boolean | null {
  return withFile(path, (fd) => {
    const answer = isOpenForWriting(fd);
    return answer === true && shared.has(statfsSync(path).type) ? null : answer;
  });
}

/** Null if it cannot be opened: what reads the files says why. */
function withFile<T>(path: string, work: (fd: number) => T): T | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

function heldBy(base: string, { who, writes, needsIt }: Holder): MigrateError {
  const use = writes ? "open for writing" : "in use";
  return new MigrateError(needsIt ? "vm-running" : "vm-busy", `${base} is ${use} by ${who}`, {
    side: "source",
    hint: "End that use first: a VM's files can be moved only if nothing else holds them.",
  });
}

function heldByUnknown(base: string): MigrateError {
  return new MigrateError("vm-busy", `${base} is open for writing by something that does not show here`, {
    side: "source",
    hint: "It may be a program of another user or container, or the kernel (an export by NFS or iSCSI). Root sees more: fuser -v FILE.",
  });
}
