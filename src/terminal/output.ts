/**
 * Where text goes: a file descriptor, in order, never lost at exit and never a reason to die.
 *
 * process.stdout of Bun drops what a slow reader has not taken when the process exits, and a
 * blocking write would let a stalled reader (`| less`) stall a migration: pipes and files are
 * written by the thread pool one piece after the other. A terminal is written at once, because
 * standard output and standard error are then one screen and their order shows.
 */
import { write, writeSync } from "node:fs";

export interface Output {
  readonly isTTY: boolean;
  /** Bytes taken but not yet written. */
  readonly queuedBytes: number;
  /** Takes text; never throws, never blocks on a pipe. */
  write(text: string): void;
  /** Resolves when all that was taken is written, or nobody reads any more. */
  flush(): Promise<void>;
}

/** Milliseconds between two tries when a descriptor shared with others is non-blocking and full. */
const retryMs = 10;

/** Tries on a full terminal before a piece is given up (about half a second). */
const terminalTries = 50;

export class DescriptorOutput implements Output {
  readonly isTTY: boolean;
  #descriptor: number;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #closed = false;
  #pumping: Promise<void> | undefined;

  constructor(descriptor: number, isTTY: boolean) {
    this.#descriptor = descriptor;
    this.isTTY = isTTY;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  write(text: string): void {
    if (this.#closed || text === "") return;
    const bytes = Buffer.from(text);
    if (this.isTTY) {
      this.#writeToTerminal(bytes);
      return;
    }
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    this.#pumping ??= this.#pump().finally(() => {
      this.#pumping = undefined;
    });
  }

  async flush(): Promise<void> {
    while (this.#pumping !== undefined) await this.#pumping;
  }

  #writeToTerminal(bytes: Buffer): void {
    let offset = 0;
    for (let tries = 0; offset < bytes.length && tries < terminalTries; ) {
      try {
        offset += writeSync(this.#descriptor, bytes, offset);
      } catch (thrown) {
        if (!isFull(thrown)) {
          this.#closed = true;
          return;
        }
        tries += 1;
        Bun.sleepSync(retryMs);
      }
    }
  }

  async #pump(): Promise<void> {
    while (this.#queue.length > 0 && !this.#closed) {
      // One write for all that has gathered: a line at a time would cost a thread hop each.
      const bytes = this.#queue.length === 1 ? (this.#queue[0] as Buffer) : Buffer.concat(this.#queue);
      this.#queue = [];
      await this.#writeWhole(bytes);
      this.#queuedBytes -= bytes.length;
    }
    if (this.#closed) {
      this.#queue = [];
      this.#queuedBytes = 0;
    }
  }

  async #writeWhole(bytes: Buffer): Promise<void> {
    let offset = 0;
    while (offset < bytes.length) {
      try {
        offset += await writeOnce(this.#descriptor, bytes, offset);
      } catch (thrown) {
        if (!isFull(thrown)) {
          // EPIPE (`| head`), EIO (a terminal that went away), ENOSPC: nobody reads; the work goes on.
          this.#closed = true;
          return;
        }
        await Bun.sleep(retryMs);
      }
    }
  }
}

function writeOnce(descriptor: number, bytes: Buffer, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(descriptor, bytes, offset, bytes.length - offset, null, (error, written) => {
      if (error) reject(error);
      else resolve(written);
    });
  });
}

function isFull(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && (thrown.code === "EAGAIN" || thrown.code === "EINTR");
}
