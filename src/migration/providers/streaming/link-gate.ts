/** Waits until a link stands: for steps that must not begin while the destination cannot be reached. */
import { MigrateError } from "../../../protocol/errors.ts";

export class LinkGate {
  #isOpen = false;
  #shut: MigrateError | undefined;
  #waiting: { resolve: () => void; reject: (error: MigrateError) => void }[] = [];

  get isOpen(): boolean {
    return this.#isOpen;
  }

  open(): void {
    this.#isOpen = true;
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }

  close(): void {
    this.#isOpen = false;
  }

  /** From now on `passed` rejects with `error`, for those who wait already as well. */
  shut(error: MigrateError): void {
    this.#shut ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#shut);
  }

  /**
   * Resolves as soon as a link stands. Rejects with MigrateError "network" if none does within `timeoutMs`,
   * and with the error of `shut`.
   */
  async passed(timeoutMs: number): Promise<void> {
    if (this.#shut !== undefined) throw this.#shut;
    if (this.#isOpen) return;
    const late = new MigrateError("network", "the link did not come back while the VM stood still", {
      side: "source",
    });
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(late), timeoutMs);
      const wake = <T>(then: (value: T) => void) => {
        return (value: T) => {
          clearTimeout(timer);
          then(value);
        };
      };
      this.#waiting.push({ resolve: wake<void>(resolve), reject: wake(reject) });
    });
  }
}
