/**
 * A process that runs a VM or a part of it and outlives the one that starts it: in a session of its
 * own, without our descriptors, our environment or our working directory. Its standard error goes to a
 * log file, whose last lines explain its end.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { basename } from "node:path";
import {
  isRunning,
  type ProcessId,
  processId,
  signalProcess,
  waitForEnd,
} from "../../platform/process-id.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { withoutInvisible } from "../../protocol/printable.ts";
import { programEnvironment } from "../confinement/environment.ts";

/** Longest excerpt of a log, in characters. */
const excerptChars = 300;
/** How much of a log is read for it, in bytes. */
const logTailBytes = 4096;
/** Most lines of an excerpt: the last ones. */
const excerptLines = 3;
/** How often a process that is not our child is looked for. */
const pollMs = 50;
/** How long a process may take to end after SIGKILL, in milliseconds. */
const forcedMs = 15_000;

export interface Daemon {
  process: ProcessId;
  /** Resolves when the process is gone. */
  ended: Promise<void>;
  /** The last lines of its standard error, fit to be sent to a peer; "" if it wrote nothing. */
  lastErrors(): string;
}

export interface DaemonOptions {
  /** Its working directory. */
  cwd: string;
  /** Path of the log file, which is made (0600) or emptied. */
  log: string;
  /** Open files that it is handed: 3 and so on there. */
  descriptors?: readonly number[];
}

/**
 * Starts a program from its full argument list, without a shell. Throws MigrateError "qemu-failed"
 * if there is no such program, and as node:fs does if the log cannot be made. One that ends at
 * once is no error here: `ended` tells.
 */
export function startDaemon(argv: readonly string[], { cwd, log, descriptors = [] }: DaemonOptions): Daemon {
  const program = basename(argv[0] ?? "");
  const { O_WRONLY, O_CREAT, O_TRUNC, O_APPEND, O_NOFOLLOW } = constants;
  const stderr = openSync(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW, 0o600);
  try {
    const child = Bun.spawn([...argv], {
      cwd,
      env: programEnvironment,
      stdio: ["ignore", "ignore", stderr, ...descriptors],
      // setsid(2): what ends our session or our terminal does not reach it.
      detached: true,
    });
    child.unref();
    return {
      // One that has ended already has no start time that we could know; 0 belongs to no process.
      process: processId(child.pid) ?? { pid: child.pid, startTicks: 0 },
      ended: child.exited.then(() => undefined),
      lastErrors: () => excerptOf(log),
    };
  } catch (cause) {
    const absent = (cause as { code?: unknown }).code === "ENOENT";
    throw new MigrateError("qemu-failed", `${program} ${absent ? "is not installed" : "does not start"}.`, {
      side: "destination",
      hint: "migrate doctor shows what is missing on this host.",
      cause,
    });
  } finally {
    closeSync(stderr);
  }
}

/** One that an earlier process started. It is watched only from the moment `ended` is first read. */
export function adoptDaemon(process: ProcessId, log: string): Daemon {
  let end: Promise<void> | undefined;
  return {
    process,
    lastErrors: () => excerptOf(log),
    get ended() {
      end ??= endOf(process);
      return end;
    },
  };
}

function endOf(process: ProcessId): Promise<void> {
  const end = Promise.withResolvers<void>();
  const timer = setInterval(() => {
    if (isRunning(process)) return;
    clearInterval(timer);
    end.resolve();
  }, pollMs);
  // It may outlive us: waiting for it must not keep this process alive.
  timer.unref();
  return end.promise;
}

/**
 * Ends a process and waits until it is gone; one that has ended is no error. With `politeMs` it gets
 * a SIGTERM and that long before the SIGKILL. Throws MigrateError "qemu-failed" if it is still
 * there after 15 seconds, as one that hangs in the kernel is, and a SystemError (EPERM).
 */
export async function endDaemon(process: ProcessId, { politeMs = 0 } = {}): Promise<void> {
  if (politeMs > 0) {
    if (!signalProcess(process, "SIGTERM")) return;
    if (await waitForEnd(process, politeMs)) return;
  }
  if (!signalProcess(process, "SIGKILL")) return;
  if (await waitForEnd(process, forcedMs)) return;
  throw new MigrateError("qemu-failed", "A process of the VM does not end, not even when it is killed.", {
    hint: `Its pid is ${process.pid}; a disk or a network file system that hangs can hold it.`,
  });
}

function excerptOf(log: string): string {
  let fd: number;
  try {
    fd = openSync(log, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return "";
  }
  try {
    const { size } = fstatSync(fd);
    const tail = Buffer.alloc(Math.min(size, logTailBytes));
    const taken = readSync(fd, tail, 0, tail.length, size - tail.length);
    return excerptForPeer(tail.toString("utf8", 0, taken));
  } catch {
    return "";
  } finally {
    closeSync(fd);
  }
}

/** A path, of which the last name is kept. A space ends it, so a name with one loses only what stood before. */
const path = /[^\s'"`=:,;()<>[\]{}]*\/([^\s'"`=:,;()<>[\]{}]*)/g;

/**
 * The last lines of a text as one line that may be sent to the peer and shown in a terminal: at most
 * 300 characters, nothing invisible, and of each path only its last name.
 */
export function excerptForPeer(text: string): string {
  const lines = text
    .split("\n")
    .map((line) => withoutInvisible(line.replace(path, "$1")).trim())
    .filter((line) => line !== "");
  // A warning is not why a process ends, and would take the room of what is.
  const errors = lines.filter((line) => !/\bwarning: /.test(line));
  const excerpt = (errors.length > 0 ? errors : lines).slice(-excerptLines).join("; ");
  return excerpt.length <= excerptChars ? excerpt : `${[...excerpt].slice(0, excerptChars - 1).join("")}…`;
}
