/** What can go wrong between us and a QEMU, by kind, and the sentence for a person. */
import { statSync } from "node:fs";
import { asMigrateError, MigrateError, type Side } from "../../../protocol/errors.ts";

/**
 * - `refused`: QEMU answered with an error; the connection is as good as before.
 * - `interrupted`: the connection ended before the answer; whether the command was done is not known.
 * - `malformed`: what came is not QMP, and the connection is given up; or it is no answer to that command (Qmp.ask).
 * - `silent`: no answer in time; the command may still be done, and the connection stays.
 */
export type QmpErrorKind = "refused" | "interrupted" | "malformed" | "silent";

export interface QmpErrorContext {
  command?: string | undefined;
  /** QEMU's class of the error ("GenericError", "CommandNotFound"); only if refused. */
  errorClass?: string | undefined;
  /** QEMU's own text, which may name local paths. Only if refused. */
  description?: string | undefined;
  cause?: unknown;
}

/** QEMU's own text is cut to so many characters. */
const descriptionLength = 1000;

export class QmpError extends Error {
  readonly kind: QmpErrorKind;
  readonly command?: string;
  readonly errorClass?: string;
  readonly description?: string;

  constructor(kind: QmpErrorKind, message: string, context: QmpErrorContext = {}) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.name = "QmpError";
    this.kind = kind;
    if (context.command !== undefined) this.command = context.command;
    if (context.errorClass !== undefined) this.errorClass = context.errorClass;
    if (context.description !== undefined) this.description = context.description;
  }

  /** QEMU's answer to `command` was an error. */
  static refused(command: string, errorClass: string, text: string): QmpError {
    const description = text.length > descriptionLength ? `${text.slice(0, descriptionLength)}…` : text;
    return new QmpError("refused", `QEMU refused ${command}: ${description}`, {
      command,
      errorClass,
      description,
    });
  }

  /** The same trouble, seen by the command that waited when it came. */
  during(command: string): QmpError {
    return new QmpError(this.kind, `${this.message}, before it answered ${command}`, {
      command,
      cause: this,
    });
  }
}

/**
 * Any thrown value as a MigrateError: a QmpError becomes "qemu-failed". QEMU's own words stand in the
 * hint alone, which a peer is never sent, because they may name paths of this host.
 */
export function qmpFailure(thrown: unknown, side: Side): MigrateError {
  if (!(thrown instanceof QmpError)) return asMigrateError(thrown).within({ side });
  if (thrown.kind !== "refused")
    return new MigrateError("qemu-failed", thrown.message, { side, cause: thrown });
  return new MigrateError("qemu-failed", `QEMU refused ${thrown.command} (${thrown.errorClass})`, {
    side,
    hint: `QEMU says: ${thrown.description}`,
    cause: thrown,
  });
}

/** Why there is no connection to the QEMU at this path, as MigrateError "vm-invalid". See Qmp.connect. */
export function connectFailure(path: string, thrown: unknown): MigrateError {
  if (thrown instanceof QmpError) {
    if (thrown.kind === "silent") return taken(path, thrown);
    const why = thrown.kind === "malformed" ? "is not QEMU's machine protocol" : "ended the conversation";
    return invalid(`What listens on ${path} ${why}`, "Give the path of a -qmp unix:PATH of QEMU.", thrown);
  }
  const code = codeOf(thrown);
  switch (code) {
    case "ENOENT":
      return invalid(`There is no socket ${path}`, "Does the VM run, and with -qmp unix:PATH?", thrown);
    case "ECONNREFUSED":
      if (!isSocket(path)) {
        return invalid(`${path} is no socket`, "Give the path of a -qmp unix:PATH of QEMU.", thrown);
      }
      return invalid(`Nobody listens on ${path}`, "The QEMU that made it has ended.", thrown);
    case "EAGAIN":
      return taken(path, thrown);
    case "EACCES":
    case "EPERM":
      return invalid(
        `This user may not connect to ${path}`,
        "Run migrate as root, or as the user who runs QEMU.",
        thrown,
      );
    default:
      return invalid(`${path} cannot be connected to: ${String(code ?? thrown)}`, undefined, thrown);
  }
}

function isSocket(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() !== false;
}

function taken(path: string, cause: unknown): MigrateError {
  return invalid(
    `The QEMU behind ${path} does not answer: another program is likely to hold this socket`,
    "QEMU serves one program at a time on a QMP socket; end the other one, or give QEMU one more -qmp.",
    cause,
  );
}

function invalid(message: string, hint: string | undefined, cause: unknown): MigrateError {
  return new MigrateError("vm-invalid", message, { hint, cause });
}

function codeOf(thrown: unknown): unknown {
  return (thrown as { code?: unknown }).code;
}
