/**
 * The virtual TPM beside a QEMU: an swtpm process that QEMU reaches through a control socket
 * (swtpm(8); QEMU docs/specs/tpm). Starting one at the destination, finding the one at the source.
 */
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { argumentsOf, isRunning, type ProcessId, processId } from "../../platform/process-id.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { endDaemon, startDaemon } from "./daemon.ts";
import { pairsOf, valueIn } from "./definition/option-syntax.ts";
import { type RunFolder, swtpmLogName } from "./run-folder.ts";

/** Names in a run folder: the control socket, the link to the state folder, the file with the pid. */
export const tpmSocketName = "swtpm";
export const tpmStateName = "tpm-state";
const pidName = "swtpm.pid";

/** How long swtpm may take until it listens, in milliseconds; it takes some ten. */
const startTimeoutMs = 10_000;
const pollMs = 5;
/** How long it may take to close its state when it is told to end, in milliseconds. */
const politeMs = 3000;

export interface SwtpmOptions {
  /** An existing folder; empty for a VM whose TPM's state comes with its RAM. */
  stateFolder: string;
  run: RunFolder;
  /** Started in place of swtpm; for tests. */
  program?: string;
  /** Returns the command that starts swtpm, given its own. */
  confined?: (argv: readonly string[]) => string[];
}

export interface RunningSwtpm {
  process: ProcessId;
  /** Path of the control socket, for QEMU's chardev. */
  socket: string;
  /** Resolves when the process is gone. */
  ended: Promise<void>;
  /** Ends it as `endSwtpm` does. Idempotent. */
  kill(): Promise<void>;
}

/**
 * Starts an swtpm (TPM 2.0) with its state in `stateFolder`, which it reaches through the link
 * `tpmStateName` of the run folder: whoever renames the state folder sets the link anew. It is in a
 * session of its own, noted in the run folder, and ends by itself when its QEMU does. Resolves when it
 * listens. An swtpm that was left behind on the same socket is ended first.
 *
 * Throws MigrateError "qemu-failed" with its last errors if it ends before, or does not listen within
 * ten seconds, and if there is no such folder; nothing is left running then.
 */
export async function startSwtpm({
  stateFolder,
  run,
  program = "swtpm",
  confined = (argv) => [...argv],
}: SwtpmOptions): Promise<RunningSwtpm> {
  if (!statSync(stateFolder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new MigrateError("qemu-failed", "The virtual TPM has no folder for its state.", {
      side: "destination",
    });
  }
  const socket = run.socket(tpmSocketName);
  const leftBehind = swtpmOf(socket);
  if (leftBehind !== null) await endSwtpm(leftBehind.process);
  const pidFile = run.socket(pidName);
  for (const path of [socket, pidFile]) rmSync(path, { force: true });
  run.link(tpmStateName, resolve(stateFolder));
  // Relative names: swtpm splits its options at commas, which the name of a VM may hold.
  const daemon = startDaemon(
    confined([
      ...[program, "socket", "--tpm2", "--terminate", "--tpmstate", `dir=${tpmStateName},mode=0600`],
      ...["--ctrl", `type=unixio,path=${tpmSocketName},mode=0600`, "--pid", `file=${pidName}`],
    ]),
    { cwd: run.path, log: join(run.path, swtpmLogName) },
  );
  let gone = false;
  const ended = daemon.ended.then(() => {
    gone = true;
  });
  try {
    run.note("swtpm", daemon.process);
    // It writes its pid once it listens; a call to find that out would be taken for QEMU's.
    for (const lateAtMs = performance.now() + startTimeoutMs; !isListening(pidFile, daemon.process); ) {
      const late = performance.now() > lateAtMs;
      if (gone || late) {
        const what = gone ? "The virtual TPM ended at its start" : "The virtual TPM does not come up";
        throw new MigrateError("qemu-failed", `${what}: ${daemon.lastErrors() || "swtpm said nothing"}`, {
          side: "destination",
        });
      }
      await Promise.race([ended, Bun.sleep(pollMs)]);
    }
  } catch (thrown) {
    await endDaemon(daemon.process);
    throw thrown;
  }
  return {
    process: daemon.process,
    socket,
    ended: daemon.ended,
    kill: async () => {
      await endSwtpm(daemon.process);
      await daemon.ended;
    },
  };
}

/**
 * Ends an swtpm: SIGTERM, on which it closes its state, and SIGKILL after three seconds. Waits until
 * it is gone; one that has ended is no error. Throws as `endDaemon` does.
 */
export async function endSwtpm(process: ProcessId): Promise<void> {
  await endDaemon(process, { politeMs });
}

/**
 * The swtpm whose control socket has this path, and the folder (without links) with its state; null if there is
 * none, if it keeps its state in no folder, or if it is not to be trusted. Found by the command
 * lines of this host's processes (proc(5)), since swtpm would take a call for its QEMU's.
 *
 * Anybody can run a process with any command line, and what is found here may be ended and its folder
 * retired by root. So a process of another user is believed only if the socket and the state folder
 * are that user's own.
 */
export function swtpmOf(controlSocketPath: string): { process: ProcessId; stateFolder: string } | null {
  const socket = real(resolve(controlSocketPath));
  for (const name of readdirSync("/proc")) {
    if (!/^[1-9]\d*$/.test(name)) continue;
    try {
      const pid = Number(name);
      const argv = argumentsOf(pid) ?? [];
      if (basename(argv[0] ?? "") !== "swtpm") continue;
      const found = processId(pid);
      const cwd = readlinkSync(`/proc/${pid}/cwd`);
      const path = optionKey(argv, "--ctrl", "path");
      const folder = stateFolderOf(argv);
      if (found === null || path === null || folder === null) continue;
      if (real(resolve(cwd, path)) !== socket) continue;
      const stateFolder = realpathSync(resolve(cwd, folder));
      if (isTrusted(pid, socket, stateFolder) && isRunning(found)) return { process: found, stateFolder };
    } catch {
      // It has ended meanwhile, or it is another user's and does not show.
    }
  }
  return null;
}

/** `--tpmstate dir=DIR`, or `backend-uri=dir://DIR` of later versions. */
function stateFolderOf(argv: readonly string[]): string | null {
  const folder = optionKey(argv, "--tpmstate", "dir");
  if (folder !== null) return folder;
  return /^dir:\/\/(.+)$/.exec(optionKey(argv, "--tpmstate", "backend-uri") ?? "")?.[1] ?? null;
}

/** The value of a key in "--option a=1,b=2" or "--option=a=1,b=2"; null if it is not there. */
function optionKey(argv: readonly string[], option: string, key: string): string | null {
  for (const [index, argument] of argv.entries()) {
    const value =
      argument === option
        ? argv[index + 1]
        : argument.startsWith(`${option}=`)
          ? argument.slice(option.length + 1)
          : undefined;
    // Unlike QEMU, swtpm knows no commas within a value.
    const found = value === undefined ? undefined : valueIn(pairsOf(value.split(",")), key);
    if (found !== undefined) return found;
  }
  return null;
}

/** See `swtpmOf`. The real user counts: a program with the setuid bit does not lend its owner's trust. */
function isTrusted(pid: number, socket: string, stateFolder: string): boolean {
  const uid = Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? Number.NaN);
  if (uid === 0 || uid === process.getuid?.()) return true;
  return [socket, stateFolder].every((path) => lstatSync(path).uid === uid);
}

/** The path without links but in its last part: a link that stands for a socket is not followed. */
function real(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    return path;
  }
}

function isListening(pidFile: string, process: ProcessId): boolean {
  try {
    return readFileSync(pidFile, "latin1").trim() === String(process.pid);
  } catch {
    return false;
  }
}
