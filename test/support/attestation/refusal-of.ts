/** What is thrown, where a refusal is what is expected. */
import { MigrateError } from "../../../src/protocol/errors.ts";

/** The MigrateError that `work` throws. Anything else that it does is the test's failure. */
export function refusalOf(work: () => unknown): MigrateError {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof MigrateError) return thrown;
    throw thrown;
  }
  throw new Error("nothing was refused");
}

/** What `work` returns, or the sentence of the MigrateError that it throws. */
export function outcomeOf<Value>(work: () => Value): Value | string {
  try {
    return work();
  } catch (thrown) {
    if (!(thrown instanceof MigrateError)) throw thrown;
    return thrown.message;
  }
}
