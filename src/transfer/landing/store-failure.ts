/** What went wrong with the store, in sentences that the peer may read: they name no path. */
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";

export function storeFailure(thrown: unknown): MigrateError {
  if (thrown instanceof MigrateError) return thrown;
  const code = (thrown as NodeJS.ErrnoException).code;
  // An error that is not the system's is a mistake of ours.
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
