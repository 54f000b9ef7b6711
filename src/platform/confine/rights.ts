/** What the calling thread may do, given up for good: capabilities(7), credentials(7), prctl(2). */
import { constants } from "node:os";
import { errno } from "../libc.ts";
import { attempt, call } from "./kernel.ts";

/** linux/prctl.h. */
const PR_SET_PDEATHSIG = 1;
const PR_CAPBSET_DROP = 24;
const PR_SET_SECUREBITS = 28;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
/** linux/securebits.h: NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each with its lock. */
const noRootLocked = 0b11 | 0b1100_0000;
/** linux/capability.h: _LINUX_CAPABILITY_VERSION_3. */
const capabilityVersion = 0x20080522;
const mostCapabilities = 64;

/** This user and group, and those groups besides, in all three roles. */
export function becomeUser(uid: number, gid: number, groups: readonly number[]): void {
  call("setgroups", groups.length, Uint8Array.from(Buffer.from(Uint32Array.from(groups).buffer)));
  call("setresgid", gid, gid, gid);
  call("setresuid", uid, uid, uid);
}

/**
 * Takes every capability out of the bounding set, so that no program that is started can have one, and makes
 * root's number worth nothing. To be called while the thread still has CAP_SETPCAP; without it nothing is done,
 * and false returned.
 */
export function emptyBoundingSet(): boolean {
  let dropped = true;
  for (let capability = 0; capability < mostCapabilities; capability += 1) {
    // EINVAL: this kernel has no more.
    const result = attempt("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0);
    if (result < 0 && result !== -errno.EINVAL) dropped = false;
  }
  return attempt("prctl", PR_SET_SECUREBITS, noRootLocked, 0, 0, 0) >= 0 && dropped;
}

/** The effective, permitted, inheritable and ambient sets are empty from here on. */
export function dropCapabilities(): void {
  call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  const header = new Uint8Array(Uint32Array.of(capabilityVersion, 0).buffer);
  // Two structures of three words: effective, permitted, inheritable.
  call("capset", header, new Uint8Array(24));
}

/** Whoever started us may have keys in its session's keyring: the thread has an empty one from here on. keyctl(2). */
export function leaveKeyring(): void {
  const KEYCTL_JOIN_SESSION_KEYRING = 1;
  // A kernel without keyrings has none to leave.
  attempt("keyctl", KEYCTL_JOIN_SESSION_KEYRING, null);
}

/** Nothing that is started from here on gains a right by a file's mode or capabilities. */
export function setNoNewPrivs(): void {
  call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/**
 * The process gets the signal when the thread that started it ends; a program that it becomes does, too, if it gains no
 * right by that (PR_SET_PDEATHSIG).
 */
export function endWithParent(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): void {
  call("prctl", PR_SET_PDEATHSIG, constants.signals[signal], 0, 0, 0);
}
