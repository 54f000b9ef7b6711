/**
 * What is refused of a VM, gathered: whoever asks whether it can be moved sees all of it, and a move ends with the
 * first. What the checks find goes through here, so that both hear the same words.
 */
import { MigrateError } from "../../protocol/errors.ts";
import { QmpError, qmpFailure } from "./qmp/qmp-error.ts";

export class Refusals {
  readonly #all: MigrateError[] = [];

  /** In the order in which they were found. */
  get all(): readonly MigrateError[] {
    return this.#all;
  }

  add(...errors: readonly MigrateError[]): void {
    this.#all.push(...errors);
  }

  /** Returns what `ask` returns; undefined if it throws, and then the reason is kept. Throws what is a bug. */
  attempt<Value>(ask: () => Value): Value | undefined {
    try {
      return ask();
    } catch (thrown) {
      this.#keep(thrown);
      return undefined;
    }
  }

  /** As `attempt`. Throws QmpError as well if QEMU is gone: nothing more can be asked. */
  async attemptAsync<Value>(ask: () => Promise<Value>): Promise<Value | undefined> {
    try {
      return await ask();
    } catch (thrown) {
      if (thrown instanceof QmpError && thrown.kind !== "refused") throw thrown;
      this.#keep(thrown);
      return undefined;
    }
  }

  #keep(thrown: unknown): void {
    const error = thrown instanceof MigrateError ? thrown : lookFailure(thrown);
    if (error.code === "bug") throw thrown;
    this.#all.push(error);
  }
}

/** An error of the system is about what this user may see, not a bug. */
export function lookFailure(thrown: unknown): MigrateError {
  const { code } = thrown as { code?: unknown };
  if (thrown instanceof MigrateError || typeof code !== "string") return qmpFailure(thrown, "source");
  return invalid(
    `The VM's QEMU cannot be looked at (${code})`,
    "Run migrate as root, or as the user who runs QEMU.",
  );
}

/** A VM that cannot be moved as it is: for the caller to throw. */
export function invalid(message: string, hint?: string): MigrateError {
  return new MigrateError("vm-invalid", message, { side: "source", hint });
}
