/** Thrown if it is certain that the VM never ran at the destination and never will. */
import { MigrateError } from "../../protocol/errors.ts";

export class NeverRan extends MigrateError {
  constructor(message: string, cause?: unknown) {
    super("qemu-failed", message, { side: "destination", cause });
  }
}
