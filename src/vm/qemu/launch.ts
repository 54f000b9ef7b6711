/** Starting QEMU for a VM that arrives, and taking over one that an earlier process of ours started. */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { peerProcess } from "../../platform/peer-process.ts";
import { isRunning, isSameProcess, type ProcessId, waitForEnd } from "../../platform/process-id.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { adoptDaemon, type Daemon, endDaemon, startDaemon } from "./daemon.ts";
import { Qmp } from "./qmp/qmp.ts";
import { qmpFailure } from "./qmp/qmp-error.ts";
import { qemuLogName, qmpSocketName, type RunFolder } from "./run-folder.ts";

/** How long QEMU may take until it answers, in milliseconds; one with large memory to lock needs seconds. */
const startTimeoutMs = 15_000;
/** How often its socket is looked for. */
const pollMs = 10;
/** How long QEMU may take to quit when it is asked, in milliseconds: it flushes its disks. */
const quitTimeoutMs = 10_000;
/** How long one that fails may take from its first closed socket to its end, in milliseconds. */
const endingMs = 500;

export interface RunningQemu {
  qmp: Qmp;
  process: ProcessId;
  /** Resolves when the process is gone. */
  ended: Promise<void>;
  /**
   * The last lines of its standard error: at most 300 characters, fit to be sent to the peer (no
   * control characters, no folders). "" if it wrote nothing.
   */
  lastErrors(): string;
  /** SIGKILL, and waits until the process is gone. Idempotent. Throws as `endDaemon` does. */
  kill(): Promise<void>;
  /** Asks QEMU to quit, and kills it if it does not within ten seconds. Idempotent. Throws as `kill` does. */
  quit(): Promise<void>;
}

/**
 * Starts QEMU from a full argument list (the binary first), which must open a QMP server at
 * `run.socket("qmp")`. It is in a session of its own with "/" as its working directory, inherits
 * nothing of ours but `descriptors`, which are 3 and so on there, and is noted in the run folder. Resolves when it answers a command.
 *
 * Throws MigrateError "qemu-failed" with its last errors if it ends before, or does not answer within
 * `timeoutMs` (15 s), and "home-unusable" if it cannot be noted; nothing is left running then.
 */
export async function startQemu(
  argv: readonly string[],
  run: RunFolder,
  { timeoutMs = startTimeoutMs, descriptors = [] as readonly number[] } = {},
): Promise<RunningQemu> {
  // The socket of an earlier try must not be taken for this one's.
  rmSync(run.socket(qmpSocketName), { force: true });
  const daemon = startDaemon(argv, { cwd: "/", log: join(run.path, qemuLogName), descriptors });
  try {
    run.note("qemu", daemon.process);
    return running(await firstAnswer(daemon, run, timeoutMs), daemon);
  } catch (thrown) {
    await endDaemon(daemon.process);
    throw thrown;
  }
}

/**
 * Takes over the QEMU that an earlier process started in this run folder; null if it is gone. Throws
 * MigrateError "vm-invalid" if it runs and does not answer, or another program holds its QMP socket:
 * then it is left as it is.
 */
export async function adoptQemu(
  run: RunFolder,
  { timeoutMs = startTimeoutMs } = {},
): Promise<RunningQemu | null> {
  const process = noteUnnoted(run) ?? run.noted()?.qemu ?? null;
  if (process === null || !isRunning(process)) return null;
  try {
    const qmp = await connectTo(process, run.socket(qmpSocketName), { timeoutMs });
    return running(qmp, adoptDaemon(process, join(run.path, qemuLogName)));
  } catch (thrown) {
    if (!isRunning(process)) return null;
    throw thrown;
  }
}

/**
 * As `Qmp.connect`, to that very process. Throws MigrateError "vm-invalid" also if another one answers: a QEMU makes
 * its sockets itself, and one that its guest has taken over must not have us speak to others.
 */
export async function connectTo(
  process: ProcessId,
  path: string,
  options: { timeoutMs?: number } = {},
): Promise<Qmp> {
  const qmp = await Qmp.connect(path, options);
  if (qmp.peer === null || isSameProcess(qmp.peer, process)) return qmp;
  qmp.close();
  throw new MigrateError("vm-invalid", "Another program answers on the QMP socket of the VM's QEMU.", {
    hint: `Look at ${path}; the VM's QEMU is process ${process.pid}.`,
  });
}

/**
 * Whoever started QEMU may have been killed before it was noted. Then it is the process that listens on the QMP
 * socket, which lies in a folder that only this user can enter.
 */
function noteUnnoted(run: RunFolder): ProcessId | null {
  if (run.noted()?.qemu !== null) return null;
  let process: ProcessId;
  try {
    process = peerProcess(run.socket(qmpSocketName));
  } catch {
    return null;
  }
  run.note("qemu", process);
  return process;
}

/** The connection on which QEMU has answered a command. */
async function firstAnswer(daemon: Daemon, run: RunFolder, timeoutMs: number): Promise<Qmp> {
  const path = run.socket(qmpSocketName);
  const lateAtMs = performance.now() + timeoutMs;
  const left = () => Math.max(1, lateAtMs - performance.now());
  let gone = false;
  const ended = daemon.ended.then(() => {
    gone = true;
  });
  for (;;) {
    if (gone) throw failed("QEMU ended before the VM was there", daemon);
    if (performance.now() >= lateAtMs) {
      throw failed(`QEMU did not answer within ${timeoutMs / 1000} seconds`, daemon);
    }
    if (existsSync(path)) {
      let qmp: Qmp | undefined;
      try {
        qmp = await Qmp.connect(path, { timeoutMs: left() });
        // It greets before its devices are there; this is answered by its main loop.
        await qmp.execute("query-status", undefined, { timeoutMs: left() });
        if (!gone) return qmp;
      } catch {
        // Bound and not listening yet; or it is about to end, and its log shows why.
      }
      qmp?.close();
    }
    await Promise.race([ended, Bun.sleep(pollMs)]);
  }
}

/** That it is gone, with its last errors; fit to be sent to the peer. */
export function endOf(qemu: Pick<RunningQemu, "lastErrors">): MigrateError {
  const errors = qemu.lastErrors();
  return new MigrateError(
    "qemu-failed",
    `the destination's QEMU ended${errors === "" ? "" : `: ${errors}`}`,
    {
      side: "destination",
    },
  );
}

/**
 * Why something failed in which this QEMU had a part: its end with its last errors if it is ending, since
 * all else comes of that; else `thrown` as a MigrateError. Never rejects.
 */
export async function failureBehind(qemu: RunningQemu, thrown: unknown): Promise<MigrateError> {
  const error = qmpFailure(thrown, "destination");
  if (error.code !== "qemu-failed") return error;
  // It closes its sockets a moment before it is gone.
  await Promise.race([qemu.ended, Bun.sleep(endingMs)]);
  return isRunning(qemu.process) ? error : endOf(qemu);
}

function failed(what: string, daemon: Daemon): MigrateError {
  const errors = daemon.lastErrors();
  return new MigrateError("qemu-failed", errors === "" ? `${what}, without a word.` : `${what}: ${errors}`, {
    side: "destination",
  });
}

function running(qmp: Qmp, daemon: Daemon): RunningQemu {
  const kill = async () => {
    qmp.close();
    await endDaemon(daemon.process);
    await daemon.ended;
  };
  return {
    qmp,
    process: daemon.process,
    get ended() {
      return daemon.ended;
    },
    lastErrors: daemon.lastErrors,
    kill,
    async quit() {
      if (!qmp.isClosed) {
        // Its socket may break off before the answer is there, which is as good as one.
        qmp.execute("quit", undefined, { timeoutMs: quitTimeoutMs }).catch(() => {});
        await waitForEnd(daemon.process, quitTimeoutMs);
      }
      await kill();
    },
  };
}
