/**
 * Other processes of this host, each named so that its pid, used again by the kernel, is not taken for
 * it: proc(5). The files of a process may vanish at any moment; here that is a result, not an error.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { constants } from "node:os";
import { close, errno, pidfdOpen, pidfdSendSignal, SystemError, systemError } from "./libc.ts";

/** One process, and no other that has its pid before or after it. */
export interface ProcessId {
  pid: number;
  /** When it began, in clock ticks since the host's boot: proc(5), stat, field 22. */
  startTicks: number;
}

/** Longest command line that is read, in bytes: far above what starts a VM. */
const argumentsBytes = 1024 * 1024;
/** `stat` is one line of some 50 numbers and a name of at most 64 bytes. */
const statBytes = 4096;
/** Flags of open(2), asm-generic/fcntl.h. */
const O_ACCMODE = 0o3;
const O_PATH = 0o10000000;
const exitingFlag = 0x4;
/** How often `waitForEnd` looks. */
const pollMs = 10;

interface Stat extends ProcessId {
  /** One letter: "R" running, "S" sleeping, "Z" a zombie, "X" dead. */
  state: string;
  /** The kernel's own flags of it. */
  flags: number;
  threads: number;
}

/** The process that has this pid now; null if none has, or if proc(5) hides it from this user. */
export function processId(pid: number): ProcessId | null {
  const stat = readStat(pid);
  return stat === null ? null : { pid: stat.pid, startTicks: stat.startTicks };
}

/** Whether both are the same process. */
export function isSameProcess(one: ProcessId | null | undefined, other: ProcessId): boolean {
  return one?.pid === other.pid && one.startTicks === other.startTicks;
}

/**
 * Whether that very process still runs. One that has ended and waits for its parent (a zombie) does not; one
 * whose first thread alone has ended does: the others hold its files, and may be writing to them.
 */
export function isRunning({ pid, startTicks }: ProcessId): boolean {
  const stat = readStat(pid);
  if (stat === null || stat.startTicks !== startTicks) return false;
  return (stat.state !== "Z" && stat.state !== "X") || stat.threads > 1;
}

/**
 * Whether that very process can do nothing any more, though it may not have given back all it has: its first thread is on
 * its way out, or gone (proc(5), stat, field 9: PF_EXITING of the kernel's sched.h). True only for programs whose first
 * thread takes the others along.
 */
export function isEnding({ pid, startTicks }: ProcessId): boolean {
  const stat = readStat(pid);
  if (stat === null || stat.startTicks !== startTicks) return true;
  return stat.state === "Z" || stat.state === "X" || (stat.flags & exitingFlag) !== 0;
}

/**
 * The arguments that a process was started with, its name first: proc(5), cmdline. Bytes that are not
 * UTF-8 become U+FFFD. Null if there is no such process, or it has none (the kernel's own, zombies).
 * Throws a SystemError: E2BIG above 1 MiB, EACCES or EPERM if this user may not read them.
 */
export function argumentsOf(pid: number): string[] | null {
  const bytes = readProc(pid, "cmdline", argumentsBytes + 1);
  if (bytes === null || bytes.length === 0) return null;
  if (bytes.length > argumentsBytes) throw systemError(`read /proc/${pid}/cmdline`, -errno.E2BIG);
  const argv = bytes.toString("utf8").split("\0");
  // Each ends with a NUL, the last one as well.
  if (argv.at(-1) === "") argv.pop();
  return argv;
}

/**
 * What a process may do with one of its descriptors: proc(5), fdinfo. Null if it is closed by now, does not show, or
 * only names its file (O_PATH of open(2)).
 */
export function openFor(pid: number, fd: string): "reads" | "writes" | null {
  try {
    const flags = /^flags:\s*([0-7]+)$/m.exec(
      readProc(pid, `fdinfo/${fd}`, statBytes)?.toString("latin1") ?? "",
    );
    const mode = Number.parseInt(flags?.[1] ?? "", 8);
    if (Number.isNaN(mode) || (mode & O_PATH) !== 0) return null;
    return (mode & O_ACCMODE) === 0 ? "reads" : "writes";
  } catch {
    return null;
  }
}

/**
 * Sends a signal to that very process: pidfd_send_signal(2), so that a process that has the pid after
 * it is never hit; kill(2) if the kernel has no such call (before 5.3). False if it has ended.
 * Throws a SystemError (EPERM).
 */
export function signalProcess(id: ProcessId, signal: NodeJS.Signals): boolean {
  const number = constants.signals[signal];
  const fd = pidfdOpen(id.pid);
  if (fd === -errno.ESRCH) return false;
  if (fd === -errno.ENOSYS) return isRunning(id) && kill(id.pid, number);
  if (fd < 0) throw systemError("pidfd_open", fd);
  try {
    // The descriptor holds whoever has the pid now; from here on that cannot change.
    if (!isRunning(id)) return false;
    const answer = pidfdSendSignal(fd, number);
    if (answer >= 0) return true;
    if (answer === -errno.ESRCH) return false;
    throw systemError("pidfd_send_signal", answer);
  } finally {
    close(fd);
  }
}

/** Waits until that process has ended: true, or false if it still runs after `timeoutMs`. */
export async function waitForEnd(id: ProcessId, timeoutMs: number): Promise<boolean> {
  const lateAtMs = performance.now() + timeoutMs;
  while (isRunning(id)) {
    const leftMs = lateAtMs - performance.now();
    if (leftMs <= 0) return false;
    await Bun.sleep(Math.min(pollMs, leftMs));
  }
  return true;
}

function kill(pid: number, signal: number): boolean {
  try {
    return process.kill(pid, signal);
  } catch (thrown) {
    if (codeOf(thrown) === "ESRCH") return false;
    throw thrown;
  }
}

function readStat(pid: number): Stat | null {
  const text = readProc(pid, "stat", statBytes)?.toString("latin1");
  if (text === undefined) return null;
  // The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
  const fields = text
    .slice(text.lastIndexOf(")") + 1)
    .trim()
    .split(" ");
  const [state] = fields;
  // Field 3 is the first one here.
  const startTicks = Number(fields[22 - 3]);
  const threads = Number(fields[20 - 3]);
  const flags = Number(fields[9 - 3]);
  return state === undefined || !Number.isSafeInteger(startTicks)
    ? null
    : { pid, startTicks, state, flags, threads };
}

/** At most `limitBytes` of a file of a process; null if it is gone. Its stat(2) shows no size. */
function readProc(pid: number, name: string, limitBytes: number): Buffer | null {
  if (!Number.isSafeInteger(pid) || pid <= 0) return null;
  const pieces: Buffer[] = [];
  let fd: number | undefined;
  try {
    fd = openSync(`/proc/${pid}/${name}`, "r");
    for (let left = limitBytes; left > 0; ) {
      const piece = Buffer.alloc(Math.min(left, 65_536));
      const taken = readSync(fd, piece);
      if (taken === 0) break;
      pieces.push(piece.subarray(0, taken));
      left -= taken;
    }
    return Buffer.concat(pieces);
  } catch (thrown) {
    const code = codeOf(thrown);
    if (code === "ENOENT" || code === "ESRCH") return null;
    const number = (thrown as { errno?: unknown }).errno;
    if (typeof number === "number") throw new SystemError(`read /proc/${pid}/${name}`, Math.abs(number));
    throw thrown;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function codeOf(thrown: unknown): unknown {
  return (thrown as { code?: unknown }).code;
}
