/** Waits for a link to stand: what must not begin while nobody can be told goes through here. */
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

  /** Nobody passes any more; who waits hears `error`. */
  shut(error: MigrateError): void {
    this.#shut ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#shut);
  }

  /** Resolves as soon as a link stands. Rejects with MigrateError "network" where none does in time. */
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
