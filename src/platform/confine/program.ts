/** Becoming another program, with nothing of this one left: execve(2), close_range(2), setrlimit(2), signal(7). */
import { ptr } from "bun:ffi";
import { constants } from "node:os";
import { attempt, call } from "./kernel.ts";

/** asm-generic/resource.h. */
const resources = { core: 4, files: 7 } as const;
export type Resource = keyof typeof resources;

/** linux/close_range.h, linux/fcntl.h. */
const CLOSE_RANGE_CLOEXEC = 4;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
/** The highest descriptor that is looked at where close_range(2) is not there. */
const mostDescriptors = 4096;
const SIG_SETMASK = 2;
const SIG_IGN = 1n;
/** Those that a terminal sends. */
export type Signal = "SIGINT" | "SIGQUIT";
/** Bytes of the kernel's sigset_t, and how many signals it holds. */
const signalSetBytes = 8;
const signals = 64;
/** The kernel's struct sigaction: handler, flags, restorer, mask. */
const signalActionWords = 4;

/** Bounds a resource for this process and what it becomes: the soft and the hard limit. */
export function setLimit(resource: Resource, value: number): void {
  const limit = new Uint8Array(BigUint64Array.of(BigInt(value), BigInt(value)).buffer);
  call("prlimit64", 0, resources[resource], limit, null);
}

/** The hard limit that there is now; Infinity if there is none. */
export function hardLimit(resource: Resource): number {
  const limit = new BigUint64Array(2);
  call("prlimit64", 0, resources[resource], null, new Uint8Array(limit.buffer));
  const hard = limit[1]!;
  return hard === 0xffff_ffff_ffff_ffffn ? Number.POSITIVE_INFINITY : Number(hard);
}

/**
 * Becomes the program (an absolute path first): the calling thread goes on as it, all others vanish. Of the
 * descriptors it has 0 to 2 and `kept`, of the environment `env` alone, and no signal is held back, or ignored but
 * `ignored`. Throws a SystemError if it cannot be started; never returns.
 */
export function become(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  { kept = [], ignored = [] }: { kept?: readonly number[] | undefined; ignored?: readonly Signal[] } = {},
): never {
  closeOnExec(kept);
  resetSignals();
  for (const signal of ignored) ignore(constants.signals[signal]);
  const variables = Object.entries(env).map(([key, value]) => `${key}=${value}`);
  const held = [argv, variables].map((words) => words.map((word) => Buffer.from(`${word}\0`)));
  const [words, environment] = held.map(
    (items) => new Uint8Array(BigUint64Array.from([...items.map((item) => BigInt(ptr(item))), 0n]).buffer),
  );
  call("execve", argv[0] ?? "", words!, environment!);
  throw new Error(`execve(2) of ${held.length} lists has returned`);
}

function ignore(signal: number): void {
  const action = new BigUint64Array(signalActionWords);
  action[0] = SIG_IGN;
  call("rt_sigaction", signal, new Uint8Array(action.buffer), null, signalSetBytes);
}

function closeOnExec(kept: readonly number[]): void {
  if (attempt("close_range", 3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC) < 0) {
    // Before Linux 5.11. What is not open answers EBADF, which is as good.
    for (let fd = 3; fd < mostDescriptors; fd += 1) attempt("fcntl", fd, F_SETFD, FD_CLOEXEC);
  }
  for (const fd of kept) call("fcntl", fd, F_SETFD, 0);
}

/** Handlers end with execve(2); what is ignored or blocked would stay so. */
function resetSignals(): void {
  const action = new BigUint64Array(signalActionWords);
  const bytes = new Uint8Array(action.buffer);
  for (let signal = 1; signal <= signals; signal += 1) {
    action.fill(0n);
    if (attempt("rt_sigaction", signal, null, bytes, signalSetBytes) < 0 || action[0] !== SIG_IGN) continue;
    action.fill(0n);
    attempt("rt_sigaction", signal, bytes, null, signalSetBytes);
  }
  call("rt_sigprocmask", SIG_SETMASK, new Uint8Array(signalSetBytes), null, signalSetBytes);
}
