/** What is thrown by something that is to be refused. */
import { type ErrorCode, MigrateError } from "../../../src/protocol/errors.ts";

/** What `act` throws. Throws what it threw if that is no MigrateError, or not of `code`, and if it throws nothing. */
export function refusalOf(act: () => unknown, code?: ErrorCode): MigrateError {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof MigrateError && (code === undefined || thrown.code === code)) return thrown;
    throw thrown;
  }
  throw new Error("it was not refused");
}

/** The code of the MigrateError that `act` throws; "none" if it throws nothing, else what it threw as text. */
export function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (thrown) {
    return thrown instanceof MigrateError ? thrown.code : String(thrown);
  }
  return "none";
}

/** The MigrateError that a promise is rejected with. Throws what it is rejected with if that is none, and if it is not rejected. */
export async function rejectionOf(promise: Promise<unknown>): Promise<MigrateError> {
  const thrown = await promise.then(
    () => new Error("it was not refused"),
    (reason: unknown) => reason,
  );
  if (thrown instanceof MigrateError) return thrown;
  throw thrown;
}
