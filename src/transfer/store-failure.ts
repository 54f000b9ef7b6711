/** What went wrong with the store, in words that can be told to the peer: they name no path. */
import { MigrateError } from "../protocol/errors.ts";

export function storeFailure(thrown: unknown): MigrateError {
  if (thrown instanceof MigrateError) return thrown;
  const code = (thrown as NodeJS.ErrnoException).code;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new MigrateError("no-room", "the destination's disk is full", {
      side: "destination",
      cause: thrown,
    });
  }
  return new MigrateError(
    "store-failed",
    `the destination cannot write to its store (${code ?? "unknown error"})`,
    {
      side: "destination",
      cause: thrown,
    },
  );
}
