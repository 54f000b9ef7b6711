/**
 * One lane of the source: reads chunks, leaves out what is zero or already right at the other end,
 * and sends the rest over a connection of its own. Runs in a Worker (src/lane.worker.ts).
 */
import { closeSync, openSync, readSync } from "node:fs";
import { basename } from "node:path";
import { peerError } from "../channel/control-link.ts";
import { dial } from "../channel/dial.ts";
import type { FrameSocket } from "../channel/frame-socket.ts";
import { Pacer } from "../channel/pacer.ts";
import { asMigrateError, MigrateError } from "../protocol/errors.ts";
import type { FrameName } from "../protocol/frames.ts";
import { chunkLength, deadlines, limits } from "../protocol/limits.ts";
import { decodeMessage, encodeMessage } from "../protocol/messages.ts";
import { parseAck } from "./ack.ts";
import { ChunkBuffer, Tagger } from "./chunk.ts";
import type { FromLane, ToLane } from "./lane-messages.ts";
import { zeroTag } from "./tag-table.ts";

/** Chunks sent and not acknowledged: what a cut link can cost. */
const windowChunks = 16;
/** A lane that waits for acknowledgements and hears nothing for so long is dead. */
const laneSilenceMs = 3 * deadlines.silenceMs;

type Start = Extract<ToLane, { kind: "start" }>;
type Work = Extract<ToLane, { kind: "work" }>;

export class LaneSender {
  readonly #start: Start;
  readonly #post: (message: FromLane) => void;
  readonly #tagger: Tagger;
  readonly #pacer: Pacer | undefined;
  readonly #fds = new Map<number, number>();
  /** Two: one is read into while the socket still takes the other. */
  readonly #buffers = [new ChunkBuffer(), new ChunkBuffer()];
  readonly #sending: (Promise<void> | undefined)[] = [undefined, undefined];
  readonly #unacknowledged = new Map<string, Buffer>();
  readonly #work: Work[] = [];
  #link: FrameSocket | undefined;
  #watch: Timer | undefined;
  #wake: (() => void) | undefined;
  #stopped = false;
  #right: { file: number; chunk: number; tag: Buffer }[] = [];
  #sentChunks = 0;
  #turn = 0;

  constructor(start: Start, post: (message: FromLane) => void) {
    this.#start = start;
    this.#post = post;
    this.#tagger = new Tagger(start.tagKey);
    this.#pacer = start.bandwidthBytesPerSec === null ? undefined : new Pacer(start.bandwidthBytesPerSec);
  }

  /** Connects and works until it is stopped or fails; says either to the main thread. */
  async run(): Promise<void> {
    try {
      await this.#connect();
      this.#post({ kind: "up" });
      await this.#loop();
      this.#post({ kind: "stopped", bytesSent: this.#link?.bytesSent ?? 0 });
    } catch (thrown) {
      const { code, message, side } = asMigrateError(thrown);
      this.#post({ kind: "failed", error: { code, message, side } });
    } finally {
      clearInterval(this.#watch);
      this.#link?.destroy();
      for (const fd of this.#fds.values()) closeSync(fd);
      this.#fds.clear();
    }
  }

  add(work: Work): void {
    this.#work.push(work);
    this.#wake?.();
  }

  /** Sends no faster than this from now on; for a lane that was started with a rate. */
  pace(bandwidthBytesPerSec: number): void {
    if (this.#pacer) this.#pacer.bandwidthBytesPerSec = bandwidthBytesPerSec;
  }

  stop(): void {
    this.#stopped = true;
    this.#wake?.();
  }

  async #connect(): Promise<void> {
    const { host, port, credentials, peer, session, laneToken } = this.#start;
    const link = await dial({
      host,
      port,
      credentials: credentials ?? undefined,
      standing: "lane-source",
      checkPeer: (fingerprint) =>
        fingerprint === peer
          ? null
          : new MigrateError(
              "wrong-identity",
              `another host answered at ${host}:${port}, with ${fingerprint}`,
            ),
    });
    this.#link = link;
    const welcomed = Promise.withResolvers<void>();
    this.#failed = welcomed.reject;
    link.handler = {
      frame: (name, payload) => {
        if (name === "welcome") {
          this.#welcome = true;
          welcomed.resolve();
        } else {
          this.#frame(name, payload);
        }
      },
      closed: (error) =>
        this.#fail(error ?? new MigrateError("network", "the lane was closed by the other side")),
    };
    const hello = { version: limits.version, role: "lane" as const, software: "migrate", session, laneToken };
    link.send(encodeMessage("hello", hello))?.catch(() => {});
    const late = setTimeout(
      () => this.#fail(new MigrateError("network", "a lane was accepted and never welcomed")),
      deadlines.helloMs,
    );
    try {
      await welcomed.promise;
    } finally {
      clearTimeout(late);
    }
    this.#watch = setInterval(() => {
      if (this.#unacknowledged.size > 0 && performance.now() - link.lastHeardMs > laneSilenceMs) {
        this.#fail(new MigrateError("network", "a lane heard nothing for too long"));
      }
    }, 1000);
  }

  /**
   * A lane that is not let in does not mean that the migration is refused, which is for the control
   * connection to say: it means that this connection is gone for the destination, while we have not
   * noticed yet. Another link gets another token.
   */
  #refusal(error: MigrateError): MigrateError {
    const { code, message, side } = error;
    if (this.#welcome || (code !== "policy" && code !== "unknown-session")) return error;
    return new MigrateError("network", `a lane was turned away: ${message}`, { side, cause: error });
  }

  #welcome = false;
  #failed: (error: MigrateError) => void = () => {};
  #failure: MigrateError | undefined;

  #fail(error: MigrateError): void {
    this.#failure ??= error;
    this.#failed(error);
    this.#wake?.();
  }

  #frame(name: FrameName, payload: Buffer): void {
    if (name === "error") {
      const message = decodeMessage("error", payload);
      if (message.name === "error") this.#fail(this.#refusal(peerError(message.body, "destination")));
      return;
    }
    if (name !== "ack") throw new MigrateError("protocol", `a ${name} frame is not expected on a lane`);
    for (const { file, chunk } of parseAck(payload)) {
      const tag = this.#unacknowledged.get(`${file}:${chunk}`);
      if (tag === undefined) throw new MigrateError("protocol", "a chunk was acknowledged that was not sent");
      this.#unacknowledged.delete(`${file}:${chunk}`);
      this.#right.push({ file, chunk, tag });
    }
    this.#report();
    this.#wake?.();
  }

  async #loop(): Promise<void> {
    while (!this.#stopped || this.#unacknowledged.size > 0) {
      if (this.#failure) throw this.#failure;
      const work = this.#stopped ? undefined : this.#work.shift();
      if (work === undefined) {
        await this.#sleep();
        continue;
      }
      for (let i = 0; i < work.count && !this.#stopped; i++) {
        while (this.#unacknowledged.size >= windowChunks && !this.#failure) await this.#sleep();
        if (this.#failure) throw this.#failure;
        await this.#chunk(work.file, work.first + i, have(work, i));
      }
      this.#report();
    }
  }

  /** Waits for work, an acknowledgement, a failure or the end. */
  #sleep(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }

  async #chunk(file: number, chunk: number, theirs: Buffer): Promise<void> {
    const slot = this.#turn++ % this.#buffers.length;
    const buffer = this.#buffers[slot]!;
    await this.#sending[slot];
    const bytes = chunkLength(this.#start.files[file]!.bytes, chunk);
    this.#read(file, chunk, buffer.dataRoom(bytes));
    const tag = this.#tagger.tag(file, chunk, buffer.pack(bytes));
    if (tag.equals(theirs)) {
      this.#right.push({ file, chunk, tag });
      return;
    }
    this.#unacknowledged.set(`${file}:${chunk}`, tag);
    this.#sentChunks++;
    const frame = buffer.frame(file, chunk, tag);
    const link = this.#link!;
    const sent = this.#pacer ? link.sendPaced(frame, this.#pacer) : link.send(frame);
    // A failure to send ends the lane by way of `closed`, which knows the reason.
    this.#sending[slot] = sent?.catch(() => {});
    if (this.#pacer) await this.#sending[slot];
  }

  #read(file: number, chunk: number, room: Buffer): void {
    const name = basename(this.#start.files[file]!.path);
    const changed = (how: string, cause?: unknown) =>
      new MigrateError("source-changed", `${name} ${how} since the migration began`, {
        side: "source",
        cause,
      });
    try {
      const fd = this.#open(file);
      for (let at = 0; at < room.length; ) {
        const taken = readSync(fd, room, at, room.length - at, chunk * limits.chunkBytes + at);
        if (taken === 0) throw changed("shrank");
        at += taken;
      }
    } catch (thrown) {
      if (thrown instanceof MigrateError) throw thrown;
      const { code } = thrown as NodeJS.ErrnoException;
      if (code === "ENOENT") throw changed("vanished", thrown);
      throw new MigrateError("io", `${name} cannot be read (${code ?? thrown})`, {
        side: "source",
        cause: thrown,
      });
    }
  }

  #open(file: number): number {
    let fd = this.#fds.get(file);
    if (fd === undefined) {
      fd = openSync(this.#start.files[file]!.path, "r");
      this.#fds.set(file, fd);
    }
    return fd;
  }

  #report(): void {
    const right = this.#right;
    if (right.length === 0) return;
    this.#right = [];
    const places = new Uint32Array(right.length * 2);
    const tags = new Uint8Array(right.length * limits.tagBytes);
    right.forEach(({ file, chunk, tag }, i) => {
      places[i * 2] = file;
      places[i * 2 + 1] = chunk;
      tags.set(tag, i * limits.tagBytes);
    });
    const sentChunks = this.#sentChunks;
    this.#sentChunks = 0;
    this.#post({ kind: "right", places, tags, sentChunks, bytesSent: this.#link!.bytesSent });
  }
}

function have(work: Work, i: number): Buffer {
  if (work.have === null) return zeroTag;
  return Buffer.from(work.have.buffer, work.have.byteOffset + i * limits.tagBytes, limits.tagBytes);
}
