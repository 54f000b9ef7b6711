/** The file in which QEMU keeps what a guest printed on its serial line: it is all there, whoever looks and whenever. */
import { readFileSync } from "node:fs";
import { until } from "../system/until.ts";
import { ticksIn } from "./serial-line.ts";

export class GuestLog {
  /** Takes the file, which may not be there yet, and whether its QEMU still writes to it. */
  constructor(
    readonly path: string,
    private readonly isRunning: () => boolean,
  ) {}

  /** All that was printed so far; empty where there is no file. */
  text(): string {
    try {
      return readFileSync(this.path, "utf8");
    } catch {
      return "";
    }
  }

  /** The ticks that were printed so far, in order. */
  ticks(): number[] {
    return ticksIn(this.text());
  }

  /** Waits for tick N or a later one. Throws, with the end of the text, when QEMU ends first or the deadline passes. */
  async waitForTick(n: number, deadlineMs = 60_000): Promise<void> {
    await this.waitUntil((text) => ticksIn(text).some((tick) => tick >= n), `tick ${n}`, deadlineMs);
  }

  /** The same for any text. */
  async waitUntil(holds: (text: string) => boolean, what: string, deadlineMs = 60_000): Promise<void> {
    const tail = (): string => `the serial line ends with:\n${this.text().slice(-2000)}`;
    const look = (): boolean => {
      // Asked in this order, so that the last words of a QEMU that ends in between are not missed.
      const running = this.isRunning();
      if (holds(this.text())) return true;
      if (!running) throw new Error(`the guest ended without ${what}; ${tail()}`);
      return false;
    };
    const begun = performance.now();
    try {
      await until(look, what, deadlineMs);
    } catch (error) {
      const late = performance.now() - begun >= deadlineMs;
      throw late ? new Error(`not within ${deadlineMs} ms: ${what}; ${tail()}`) : error;
    }
  }
}
