/** Thrown if it is certain that the VM never ran at the destination and never will. */
import { MigrateError } from "../../protocol/errors.ts";

export class NeverRan extends MigrateError {
  constructor(message: string, cause?: unknown, code: "qemu-failed" | "store-failed" = "qemu-failed") {
    super(code, message, { side: "destination", cause });
  }
}
