/**
 * Which of several failures is the cause. A stream that fails closes QEMU's end of it, and QEMU then fails, or ends,
 * because of that; a QEMU that ends at the destination closes its end of the streams. The two come to be known by
 * different ways, the consequence first now and then; what is told to a person and to the peer is the cause.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { type QmpError, qmpFailure } from "../../../vm/qemu/qmp/qmp-error.ts";
import { startedAnew } from "../started-anew.ts";

/** How soon after QEMU's failure the failure of the stream behind it is known, on a busy host too, in milliseconds. */
export const streamFailureMs = 250;

/**
 * How long the destination may take to say what happened there, in milliseconds: it waits for its QEMU's last words. Only
 * a move that has failed waits so long.
 */
const wordsMs = 5000;

export interface Witnesses {
  name: string;
  /** Rejects with the first failure of a stream; absent if there are none yet. */
  streams: Promise<never> | undefined;
  /** Resolves with what ended the link on which the move was begun or went on last. */
  link: Promise<MigrateError>;
  /** Resolves once the connection to this host's QEMU is closed, with why. */
  qemu: Promise<QmpError>;
}

/**
 * At the source: why the move has failed, of which `thrown` is the first sign. Never rejects.
 *
 * - What the destination says on the link comes first: it has seen its QEMU's last words.
 * - A stream that it knows nothing of any more belonged to a `migrate serve` that has ended since.
 * - Of this host's own QEMU, its end is the cause, and what became of its connections is not.
 */
export async function causeOf(thrown: unknown, witnesses: Witnesses): Promise<MigrateError> {
  const own = qmpFailure(thrown, "source");
  if (!mayBeConsequence(own)) return own;
  const stream = await within(
    streamFailureMs,
    witnesses.streams?.catch((failure: unknown) => failure),
  );
  // Where the program that has gone is this host's QEMU.
  if (stream instanceof MigrateError && stream.code === "qemu-failed" && stream.side !== "destination") {
    if (thrown !== stream) return own;
    const why = await within(streamFailureMs, witnesses.qemu);
    return why === undefined ? own : qmpFailure(why, "source");
  }
  const cause = stream === undefined ? own : qmpFailure(stream, "source");
  if (cause.side !== "destination" || !mayBeConsequence(cause)) return cause;
  const said = await within(wordsMs, witnesses.link);
  if (said !== undefined && said.code !== "network") return said;
  return cause.code === "policy" ? startedAnew(witnesses.name) : cause;
}

/** "policy" is the destination's answer to a stream that belongs to no session. */
function mayBeConsequence({ code }: MigrateError): boolean {
  return code === "qemu-failed" || code === "policy";
}

/** Undefined if it does not come in time. */
async function within<T>(ms: number, coming: Promise<T> | undefined): Promise<T | undefined> {
  return await Promise.race([coming, Bun.sleep(ms).then(() => undefined)]);
}
