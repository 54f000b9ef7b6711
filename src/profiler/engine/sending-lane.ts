/**
 * The lane of one run on the source: reads, digests, encrypts and writes, by one thread, every byte of
 * every file. A record is made only when the socket has taken the one before.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { MigrateError } from "../../protocol/errors.ts";
import type { Meter } from "./account/operation-meter.ts";
import type { MeasuredSocket } from "./records/measured-socket.ts";
import { type RecordSealer, recordBytes } from "./records/record-layer.ts";
import type { StreamDigest } from "./records/stream-digest.ts";

/** Longest turn in milliseconds; after it the event loop sees to everything else (PINGs, an interruption). */
const turnMs = 200;
/** Pieces of a record smaller than this are written together with what comes next. */
const smallBytes = 1024;

export interface SendingFile {
  path: string;
  /** How many of its bytes, from the first one on, are sent. */
  bytes: number;
}

export interface SendingOptions {
  socket: MeasuredSocket;
  files: readonly SendingFile[];
  sealer: RecordSealer | undefined;
  digest: StreamDigest;
  meter: Meter;
  /** Sent in place of what was read, if that must not leave this host. */
  standIn: Buffer | null;
}

export class SendingLane {
  wireBytes = 0;
  readonly #options: SendingOptions;
  readonly #room = Buffer.allocUnsafeSlow(recordBytes);
  readonly #finished = Promise.withResolvers<void>();
  readonly #pieces: Generator<Buffer>;
  #unsent: Buffer[] = [];
  #small: Buffer[] = [];
  #readAll = false;
  #over = false;
  #fd: number | undefined;

  constructor(options: SendingOptions) {
    this.#options = options;
    this.#pieces = this.#read();
    options.socket.handler = {
      data: () => {},
      drain: () => this.#turn(),
      closed: (error) => this.#lost(error),
    };
  }

  /**
   * Sends everything; resolves once the socket has taken the last byte. Throws MigrateError "network",
   * "io", or "source-changed" for a file that became shorter.
   */
  async run(): Promise<void> {
    try {
      this.#turn();
      await this.#finished.promise;
    } finally {
      this.#over = true;
      if (this.#fd !== undefined) closeSync(this.#fd);
    }
  }

  /** Works until the socket is full or the turn is over; in between, it is the event loop's work for the socket. */
  #turn(): void {
    if (this.#over) return;
    const { meter } = this.#options;
    meter.to("rest");
    try {
      const untilMs = performance.now() + turnMs;
      while (this.#write()) {
        if (this.#readAll) {
          this.#finished.resolve();
          return;
        }
        if (performance.now() > untilMs) {
          setImmediate(() => this.#turn());
          return;
        }
        this.#next();
      }
    } catch (thrown) {
      this.#finished.reject(thrown);
    } finally {
      meter.to("socket-write");
    }
  }

  /** Writes what is waiting; returns whether all of it is gone. */
  #write(): boolean {
    const { socket, meter } = this.#options;
    meter.to("socket-write");
    for (let next = this.#unsent[0]; next !== undefined; next = this.#unsent[0]) {
      const taken = socket.write(next);
      this.wireBytes += taken;
      if (taken < next.length) {
        this.#unsent[0] = next.subarray(taken);
        return false;
      }
      this.#unsent.shift();
    }
    meter.to("rest");
    return true;
  }

  #next(): void {
    const { sealer, digest, meter, standIn } = this.#options;
    const { value: piece, done } = this.#pieces.next();
    if (done) {
      this.#readAll = true;
      if (sealer) this.#queue(sealer.end());
      if (this.#small.length > 0) this.#unsent.push(Buffer.concat(this.#small.splice(0)));
      return;
    }
    const plain = standIn?.subarray(0, piece.length) ?? piece;
    meter.to("mac");
    digest.update(plain);
    if (sealer) this.#queue(sealer.seal(plain));
    else this.#unsent.push(plain);
    meter.to("rest");
  }

  #queue(pieces: Buffer[]): void {
    this.#options.meter.to("rest");
    for (const piece of pieces) {
      if (piece.length < smallBytes) {
        this.#small.push(piece);
        continue;
      }
      if (this.#small.length > 0) this.#unsent.push(Buffer.concat(this.#small.splice(0)));
      this.#unsent.push(piece);
    }
  }

  /** The files' bytes in pieces of a record, all in the same room. */
  *#read(): Generator<Buffer> {
    const { files, meter } = this.#options;
    for (const { path, bytes } of files) {
      meter.to("file-read");
      this.#fd = openSync(path, "r");
      for (let at = 0; at < bytes; ) {
        meter.to("file-read");
        const taken = readSync(this.#fd, this.#room, 0, Math.min(recordBytes, bytes - at), at);
        if (taken === 0)
          throw new MigrateError("source-changed", `${path} became shorter while it was sent`, {
            side: "source",
          });
        at += taken;
        yield this.#room.subarray(0, taken);
      }
      closeSync(this.#fd);
      this.#fd = undefined;
    }
  }

  #lost(error: MigrateError | undefined): void {
    this.#finished.reject(
      new MigrateError(
        "network",
        `the lane was closed by the destination${error ? `: ${error.message}` : ""}`,
        {
          side: "source",
          cause: error,
        },
      ),
    );
  }
}
