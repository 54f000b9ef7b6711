/** A view of files of its own for the calling thread: mount_namespaces(7), mount(2), pivot_root(2). */
import { attempt, call } from "./kernel.ts";

/** linux/sched.h. */
const CLONE_NEWNS = 0x00020000;
const CLONE_NEWUTS = 0x04000000;
const CLONE_NEWIPC = 0x08000000;
const CLONE_NEWNET = 0x40000000;
/** linux/mount.h. */
const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MS_REMOUNT = 32;
const MS_BIND = 4096;
const MS_REC = 16384;
const MS_PRIVATE = 1 << 18;
const MNT_DETACH = 2;

/** New namespaces for mounts, IPC and the host's name; and for the network, with nothing in it, if asked for. */
export function unshareNamespaces({ network }: { network: boolean }): void {
  call("unshare", CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (network ? CLONE_NEWNET : 0));
}

/** From here on no mount of ours is seen elsewhere, nor one of others here. */
export function makeMountsPrivate(): void {
  call("mount", "none", "/", null, MS_REC | MS_PRIVATE, null);
}

/** An empty tmpfs(5) that takes at most a mebibyte. */
export function mountTmpfs(at: string): void {
  call("mount", "tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=0755");
}

export interface BindRights {
  /** Files in it may be written. */
  writable?: boolean;
  /** Programs in it may be started. */
  programs?: boolean;
  /** Device nodes in it work. */
  devices?: boolean;
}

/** Shows the file or folder `from`, with what is mounted below it, at `at`, which is there already. */
export function bind(from: string, at: string, { writable, programs, devices }: BindRights): void {
  call("mount", from, at, null, MS_BIND | MS_REC, null);
  const flags =
    MS_NOSUID | (writable ? 0 : MS_RDONLY) | (programs ? 0 : MS_NOEXEC) | (devices ? 0 : MS_NODEV);
  call("mount", "none", at, null, MS_BIND | MS_REMOUNT | flags, null);
}

/**
 * proc(5) of which one sees oneself alone. Returns false if it cannot be had: before Linux 5.8, and in a user
 * namespace that has no pids of its own.
 */
export function mountOwnProc(at: string): boolean {
  return (
    attempt("mount", "proc", at, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=invisible,subset=pid") >=
    0
  );
}

/** Makes `folder`, a mount, the root; what was the root is then at `old` below it. */
export function pivotRoot(folder: string, old: string): void {
  call("pivot_root", folder, old);
}

export function unmountAll(at: string): void {
  call("umount2", at, MNT_DETACH);
}

/** Nothing can be made in the root from here on. */
export function makeRootReadOnly(): void {
  call("mount", "none", "/", null, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, null);
}
