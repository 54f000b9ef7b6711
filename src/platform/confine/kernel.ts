/**
 * The system calls by which a process gives up what it may do, for the thread that makes them alone: glibc's
 * wrappers of setresuid(2) and its like change every thread, and what counts is the one that calls execve(2).
 *
 * As in libc.ts a call returns a number that is zero or more, or minus the errno.
 */
import { dlopen, type Pointer, ptr, read } from "bun:ffi";
import { systemError } from "../libc.ts";

// The name is chosen as in libc.ts.
const { symbols } = dlopen("libc.so.6", {
  __errno_location: { args: [], returns: "ptr" },
  syscall: { args: ["i64", "u64", "u64", "u64", "u64", "u64"], returns: "i64" },
});

/** Numbers of asm/unistd.h: x86_64, aarch64. */
const numbers = {
  close_range: [436, 436],
  capset: [126, 91],
  execve: [59, 221],
  fcntl: [72, 25],
  keyctl: [250, 219],
  landlock_add_rule: [445, 445],
  landlock_create_ruleset: [444, 444],
  landlock_restrict_self: [446, 446],
  mount: [165, 40],
  pivot_root: [155, 41],
  prctl: [157, 167],
  prlimit64: [302, 261],
  recvmsg: [47, 212],
  rt_sigaction: [13, 134],
  rt_sigprocmask: [14, 135],
  setgroups: [116, 159],
  setresgid: [119, 149],
  setresuid: [117, 147],
  socketpair: [53, 199],
  umount2: [166, 39],
  unshare: [272, 97],
} as const;

export type CallName = keyof typeof numbers;

/** A number, a structure that the call reads or fills, text that it reads; null for a null pointer. */
export type CallArgument = number | bigint | Uint8Array | string | null;

/** syscall(2), with at most five arguments. Returns its result, or minus the errno. */
export function attempt(name: CallName, ...args: CallArgument[]): number {
  // What a pointer leads to must live until the call returns.
  const held = args.map((argument) =>
    typeof argument === "string" ? Buffer.from(`${argument}\0`) : argument,
  );
  const words = held.map((argument) => {
    if (argument === null) return 0;
    if (typeof argument === "number" || typeof argument === "bigint") return argument;
    return argument.byteLength === 0 ? 0 : ptr(argument as Uint8Array);
  });
  const [a = 0, b = 0, c = 0, d = 0, e = 0] = words;
  const number = numbers[name][process.arch === "arm64" ? 1 : 0];
  const result = symbols.syscall(number, a, b, c, d, e);
  if (result === -1n) return -read.i32(symbols.__errno_location() as Pointer, 0);
  return Number(result);
}

/** As `attempt`; throws a SystemError where the call fails. */
export function call(name: CallName, ...args: CallArgument[]): number {
  const result = attempt(name, ...args);
  if (result < 0) throw systemError(name, result);
  return result;
}
