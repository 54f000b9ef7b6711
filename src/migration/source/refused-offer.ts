/** What a person can do about an offer that the destination refuses: a peer's error says what is, and has no hint. Pure. */
import { MigrateError } from "../../protocol/errors.ts";

/** Throws what was thrown, with the way out if there is one that this host knows. */
export function refusedOffer(thrown: unknown): never {
  if (!(thrown instanceof MigrateError) || thrown.code !== "processor" || thrown.hint !== undefined)
    throw thrown;
  throw new MigrateError(thrown.code, thrown.message, {
    side: thrown.side,
    phase: thrown.phase,
    cause: thrown,
    hint: "Start the VM with a processor that both hosts can give (-cpu qemu64, or the older host's own model), or choose another destination. --cpu-check off sends it as it is, for who knows that its guest needs none of this.",
  });
}
