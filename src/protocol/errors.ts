/**
 * The one error type of the program, and the closed set of codes it may carry.
 *
 * A code is stable (scripts match on it), a message is one sentence a person can act on, a hint says what to
 * do next. Of an error `code` and `message` alone ever cross the wire, by `encodeError` of messages.ts, which
 * replaces the sentences that may hold a path of this host. Pure.
 */

export type Side = "source" | "destination";

/**
 * Exit codes of the program, by what went wrong. `usage` is for a command line that nobody could carry out as it
 * stands; one that is right, and that this host, the VM or the other side does not let pass, is `refused`.
 */
export const exitCodes = {
  done: 0,
  bug: 1,
  usage: 2,
  notTrusted: 3,
  network: 4,
  integrity: 5,
  refused: 6,
  inDoubt: 7,
  interrupted: 130,
} as const;

/** Every error code with the exit code it ends the program with. */
export const errorCodes = {
  bug: exitCodes.bug,
  usage: exitCodes.usage,
  "vm-invalid": exitCodes.refused,
  "vm-running": exitCodes.refused,
  "vm-busy": exitCodes.refused,
  "port-in-use": exitCodes.refused,
  "store-unusable": exitCodes.refused,
  "home-unusable": exitCodes.refused,
  "file-unusable": exitCodes.refused,
  "passphrase-wrong": exitCodes.notTrusted,
  "not-trusted": exitCodes.notTrusted,
  "wrong-identity": exitCodes.notTrusted,
  "ticket-invalid": exitCodes.notTrusted,
  "ticket-used": exitCodes.notTrusted,
  "ticket-expired": exitCodes.notTrusted,
  "insecure-mismatch": exitCodes.notTrusted,
  attestation: exitCodes.notTrusted,
  "tpm-unusable": exitCodes.refused,
  network: exitCodes.network,
  integrity: exitCodes.integrity,
  "source-changed": exitCodes.integrity,
  io: exitCodes.integrity,
  "qemu-failed": exitCodes.refused,
  "libvirt-failed": exitCodes.refused,
  protocol: exitCodes.refused,
  version: exitCodes.refused,
  "name-invalid": exitCodes.refused,
  "name-taken": exitCodes.refused,
  "no-room": exitCodes.refused,
  "store-failed": exitCodes.refused,
  limit: exitCodes.refused,
  policy: exitCodes.refused,
  processor: exitCodes.refused,
  busy: exitCodes.refused,
  cancelled: exitCodes.refused,
  "unknown-session": exitCodes.refused,
  "not-owner": exitCodes.inDoubt,
  "in-doubt": exitCodes.inDoubt,
  interrupted: exitCodes.interrupted,
} as const;

export type ErrorCode = keyof typeof errorCodes;

export interface ErrorContext {
  /** The side on which it arose, if that is known. */
  side?: Side | undefined;
  /** The phase in which it arose (see migration/ownership/phases.ts), if there is one. */
  phase?: string | undefined;
  /** The session that it is about, and the name of the session's VM, where they are known. Never sent to the peer. */
  session?: string | undefined;
  vm?: string | undefined;
  /** What the person can do next. Never sent to the peer. */
  hint?: string | undefined;
  cause?: unknown;
}

export class MigrateError extends Error {
  readonly code: ErrorCode;
  readonly side: Side | undefined;
  readonly phase: string | undefined;
  readonly session: string | undefined;
  readonly vm: string | undefined;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.name = "MigrateError";
    this.code = code;
    this.side = context.side;
    this.phase = context.phase;
    this.session = context.session;
    this.vm = context.vm;
    this.hint = context.hint;
  }

  get exitCode(): number {
    return errorCodes[this.code];
  }

  /** The same error, with what it did not know filled in. */
  within(context: Pick<ErrorContext, "side" | "phase" | "session" | "vm">): MigrateError {
    return new MigrateError(this.code, this.message, {
      side: this.side ?? context.side,
      phase: this.phase ?? context.phase,
      session: this.session ?? context.session,
      vm: this.vm ?? context.vm,
      hint: this.hint,
      cause: this.cause,
    });
  }
}

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code);
}

/** Any thrown value as a MigrateError; one that is none already is a bug of ours. */
export function asMigrateError(thrown: unknown): MigrateError {
  if (thrown instanceof MigrateError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new MigrateError("bug", message, { cause: thrown });
}

/** An error as data, on its way between two threads of this program; the cause stays behind. */
export interface PlainError {
  code: ErrorCode;
  message: string;
  side?: Side | undefined;
  hint?: string | undefined;
}

/** Anything thrown, as another thread receives it. */
export function toPlainError(thrown: unknown): PlainError {
  const { code, message, side, hint } = asMigrateError(thrown);
  return { code, message, side, hint };
}

/** An error as another thread sent it. */
export function fromPlainError({ code, message, side, hint }: PlainError): MigrateError {
  return new MigrateError(code, message, { side, hint });
}
