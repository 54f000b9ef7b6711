/** The guest's serial line: what it printed, and waiting for what it is going to print. */
import type { Socket } from "node:net";
import { withDeadline } from "../system/deadline.ts";

/** The numbers of the whole `tick N` lines in a serial line's text, in the order in which they stand there. */
export function ticksIn(text: string): number[] {
  return [...text.matchAll(/^tick (\d+)\r?\n/gm)].map((match) => Number(match[1]));
}

export class SerialLine {
  /** Settles once QEMU is gone and all that it had sent is in `text`. */
  readonly ended: Promise<void>;
  readonly #watchers = new Set<() => void>();
  #text = "";
  #isEnded = false;

  constructor(socket: Socket) {
    const end = Promise.withResolvers<void>();
    this.ended = end.promise;
    socket.setEncoding("utf8");
    socket.on("data", (piece) => {
      this.#text += String(piece);
      this.#look();
    });
    socket.on("error", () => socket.destroy());
    socket.on("end", () => socket.end());
    socket.on("close", () => {
      this.#isEnded = true;
      this.#look();
      end.resolve();
    });
  }

  get text(): string {
    return this.#text;
  }

  /** Waits until the text holds what is looked for. Rejects when the guest is gone first or the deadline passes. */
  async waitUntil(holds: (text: string) => boolean, what: string, deadlineMs: number): Promise<void> {
    const found = Promise.withResolvers<void>();
    const look = (): void => {
      if (holds(this.#text)) found.resolve();
      else if (this.#isEnded) found.reject(new Error(`the guest ended without ${what}; ${this.#tail()}`));
    };
    this.#watchers.add(look);
    look();
    try {
      await withDeadline(found.promise, deadlineMs, () => `${what}; ${this.#tail()}`);
    } finally {
      this.#watchers.delete(look);
    }
  }

  #look(): void {
    for (const look of [...this.#watchers]) look();
  }

  #tail(): string {
    return `its serial line ends with:\n${this.#text.slice(-2000)}`;
  }
}
