/**
 * The two logs of this host, as its kernel gives them. Files of securityfs have no size before they are read, so they are
 * read up to a bound, and refused beyond it.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { MigrateError } from "../../protocol/errors.ts";
import { logLimits } from "./log-limits.ts";

const eventLogPath = "/sys/kernel/security/tpm0/binary_bios_measurements";
const imaLogPath = "/sys/kernel/security/ima/binary_runtime_measurements";
const pieceBytes = 256 * 1024;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The firmware's event log; null if this host has none.
 *
 * With a TPM that is not the host's own (MIGRATE_TPM) it is the file that MIGRATE_EVENT_LOG names, and null without it:
 * the host's own log tells nothing of another TPM.
 * @throws MigrateError "tpm-unusable" if it cannot be read, is no file of a kind that a log is, or is longer than
 *   logLimits.eventLogBytes.
 */
export function readEventLog(env: Environment): Buffer | null {
  const path = isForeignTpm(env) ? env.MIGRATE_EVENT_LOG || null : eventLogPath;
  return path === null ? null : readLog(path, "The firmware's log", logLimits.eventLogBytes);
}

/**
 * IMA's list, from its byte `from` on; null if this host has none. As readEventLog, with MIGRATE_IMA_LOG and
 * logLimits.imaLogBytes.
 */
export function readImaLog(env: Environment, from = 0): Buffer | null {
  const path = isForeignTpm(env) ? env.MIGRATE_IMA_LOG || null : imaLogPath;
  return path === null ? null : (readLog(path, "IMA's list", logLimits.imaLogBytes)?.subarray(from) ?? null);
}

/** Whether MIGRATE_TPM names another TPM than the one that measures this host. */
function isForeignTpm({ MIGRATE_TPM: tpm = "" }: Environment): boolean {
  return tpm !== "" && !/^device:\/dev\/tpm(?:rm)?0$/.test(tpm);
}

function readLog(path: string, what: string, limitBytes: number): Buffer | null {
  let fd: number;
  try {
    // O_NONBLOCK: opening a FIFO must not wait for its writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return null;
    throw unreadable(what, path, cause);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw unusable(`${what} is not a file`, `Look at ${path}.`);
    const log = stat.size > limitBytes ? null : readBounded(fd, limitBytes);
    if (log === null)
      throw unusable(
        `${what} is longer than ${limitBytes} bytes`,
        `Look at ${path}. A list of IMA's that has grown so long begins anew with a restart of the host.`,
      );
    return log;
  } catch (cause) {
    throw cause instanceof MigrateError ? cause : unreadable(what, path, cause);
  } finally {
    closeSync(fd);
  }
}

/** All that can be read; null as soon as it is more than `limitBytes`. */
function readBounded(fd: number, limitBytes: number): Buffer | null {
  const pieces: Buffer[] = [];
  const piece = Buffer.allocUnsafe(pieceBytes);
  let bytes = 0;
  for (;;) {
    const got = readSync(fd, piece, 0, piece.length, null);
    if (got === 0) return Buffer.concat(pieces, bytes);
    bytes += got;
    if (bytes > limitBytes) return null;
    // seq_file of the kernel gives a page at a time.
    pieces.push(Buffer.from(piece.subarray(0, got)));
  }
}

function unreadable(what: string, path: string, cause: unknown): MigrateError {
  return unusable(
    `${what} cannot be read (${codeOf(cause) ?? "unknown error"})`,
    `Run migrate as root, which alone may read ${path}.`,
    cause,
  );
}

/** The path stands in the hint alone, which no peer is told. */
function unusable(sentence: string, hint: string, cause?: unknown): MigrateError {
  return new MigrateError("tpm-unusable", `${sentence}.`, { hint, cause });
}

function codeOf(cause: unknown): string | undefined {
  return (cause as NodeJS.ErrnoException | undefined)?.code;
}
