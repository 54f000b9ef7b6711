/** A way to a TPM on which one command goes and one answer comes, and what can go wrong on it. */
import { TpmError } from "./response-code.ts";

/** The longest command and answer, in bytes; a TPM of today has buffers of 4096. */
export const messageMaxBytes = 4096;
/** Tag, size and code of a command or answer (TPM 2.0 Library Part 1, 18.2 and 18.4). */
export const headerBytes = 10;

export interface TpmConnection {
  /**
   * Sends a command and returns what came, at least as much as its header says is one answer. Called one at a time.
   * Throws TpmError; after that the connection is of no more use but to be closed.
   */
  exchange(command: Buffer, timeoutMs: number): Promise<Buffer>;
  /** Idempotent; never throws. */
  close(): void;
}

/** Makes a connection, waiting for whoever else has the TPM at most `patienceMs`. Throws TpmError. */
export type TpmConnector = (patienceMs: number) => Promise<TpmConnection>;

/** The length of an answer by its first bytes; null while they are too few. Throws TpmError for one that cannot be. */
export function answerBytes(heard: Buffer): number | null {
  if (heard.length < headerBytes) return null;
  const bytes = heard.readUInt32BE(2);
  if (bytes < headerBytes || bytes > messageMaxBytes) throw garbage(`an answer of ${bytes} bytes`);
  return bytes;
}

export function garbage(what: string): TpmError {
  return new TpmError(`What this host's TPM answers is no answer of a TPM 2.0: ${what}.`, {
    hint: "See that MIGRATE_TPM, or /dev/tpmrm0, leads to a TPM 2.0; tpm2_getcap properties-fixed shows what is there.",
  });
}

export function gone(cause?: unknown): TpmError {
  return new TpmError("This host's TPM has gone away in the middle of a command.", {
    hint: "Look at its swtpm, or at dmesg for what the kernel says of its TPM, and try again.",
    cause,
  });
}

export function silent(timeoutMs: number): TpmError {
  return new TpmError(`This host's TPM has given no answer within ${timeoutMs / 1000} s.`, {
    hint: "Another program may hold it (fuser on its device or socket tells); else start it, or the host, again.",
  });
}

export function slow(timeoutMs: number): TpmError {
  return new TpmError(`This host's TPM is too slow: it has not done its part within ${timeoutMs / 1000} s.`, {
    hint: "Look at what else uses it; one that is always so slow is of no use here.",
  });
}
