/** Thrown if it is certain that the VM never ran at the destination and never will. */
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";

export class NeverRan extends MigrateError {
  constructor(message: string, cause?: unknown, code: "qemu-failed" | "store-failed" = "qemu-failed") {
    super(code, message, { side: "destination", cause });
  }
}

/** Throws NeverRan if files that were sealed are gone before the VM could run: the source still has them. */
export function givenBack(thrown: unknown): never {
  const { code, message } = asMigrateError(thrown);
  throw code === "store-failed" ? new NeverRan(message, thrown, code) : thrown;
}
