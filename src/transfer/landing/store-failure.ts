/** What went wrong with the store, in words that can be told to the peer: they name no path. */
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";

export function storeFailure(thrown: unknown): MigrateError {
  if (thrown instanceof MigrateError) return thrown;
  const code = (thrown as NodeJS.ErrnoException).code;
  // What the system did not say is a mistake of ours.
  if (typeof code !== "string") return asMigrateError(thrown);
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new MigrateError("no-room", "the destination's disk is full", {
      side: "destination",
      cause: thrown,
    });
  }
  return new MigrateError("store-failed", `the destination cannot write to its store (${code})`, {
    side: "destination",
    cause: thrown,
  });
}
