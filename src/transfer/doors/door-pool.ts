/** The doors of a destination for its main thread: several Workers that listen in the same places. */
import type { ListenAddress } from "../../channel/address.ts";
import type { Credentials } from "../../channel/tls.ts";
import { processLimits, requireOpenFiles } from "../../platform/process-limits.ts";
import { spawnWorker } from "../../platform/worker.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { TagTable } from "../chunks/tag-table.ts";
import type { TaggedFile } from "../landing/read-tags.ts";
import type { FromDoor, ToDoor } from "./door-messages.ts";
import { listenFailure, type Reserved, reserve } from "./reserve.ts";

/** Connections of one door that have not finished their TLS handshake. */
const mostStrangers = 64;
/** Chunks that a door reads before it is asked for more. */
const chunksAtOnce = 64;
/** Files and connections that a destination needs beside those of strangers: its own, and those of a session. */
const ownOpenFiles = 40;
const openFilesOfDoor = 4;
/** With fewer than these a door cannot let an honest peer in while a stranger is there. */
const leastStrangers = 2;
/** So many descriptors stay free whoever comes: without any the kernel hands no connection over, and asks for ever. */
const spareOpenFiles = 4;

export class DoorPool {
  /** Where the doors listen, in the order that was asked for. */
  readonly places: readonly ListenAddress[];
  readonly #reserved: Reserved;
  readonly #workers: Worker[];
  readonly #barriers = new Map<number, { missing: number; done: () => void }>();
  #nextBarrier = 1;
  readonly #readings = new Map<number, PromiseWithResolvers<Uint8Array>>();
  #nextReading = 1;
  #stopping: { missing: number; done: () => void } | undefined;

  private constructor(workers: Worker[], reserved: Reserved) {
    this.#workers = workers;
    this.#reserved = reserved;
    this.places = reserved.places;
  }

  /**
   * Starts `workers` doors on these places. All of them listen on each TCP port, and the first one alone on a unix
   * socket, which has no SO_REUSEPORT. `receive` gets every message of a door, with the door's number; `broken` a
   * Worker that died. Throws MigrateError "port-in-use" if nothing can listen there, "limit" if this process may not
   * have enough files open.
   */
  static async open(options: {
    listen: readonly ListenAddress[];
    credentials: Credentials | null;
    workers: number;
    receive: (door: number, message: FromDoor) => void;
    broken: (error: Error) => void;
  }): Promise<DoorPool> {
    const own = ownOpenFiles + openFilesOfDoor * options.workers;
    const { openFiles } = processLimits();
    requireOpenFiles(own + leastStrangers * options.workers, "a destination");
    // Half of what is left is for connections of sessions.
    const forStrangers = Math.floor((openFiles - own) / 2 / options.workers);
    const maxStrangers = Math.max(leastStrangers, Math.min(mostStrangers, forStrangers));
    const reserved = await reserve(options.listen);
    const workers: Worker[] = [];
    try {
      for (let door = 0; door < options.workers; door++) {
        const worker = spawnWorker("door");
        workers.push(worker);
        await new Promise<void>((resolve, reject) => {
          worker.onerror = (event) =>
            reject(new MigrateError("bug", `a door did not start: ${event.message}`));
          worker.onmessage = ({ data }: MessageEvent<FromDoor>) => {
            if (data.kind === "listening") resolve();
            if (data.kind === "listen-failed") reject(listenFailure(data.place, data));
          };
          const message: ToDoor = {
            kind: "listen",
            places: reserved.places.filter((place) => door === 0 || !("unix" in place)),
            credentials: options.credentials,
            maxStrangers,
            mostDescriptor: openFiles - spareOpenFiles,
            door,
            doors: options.workers,
          };
          worker.postMessage(message);
        });
      }
    } catch (thrown) {
      for (const worker of workers) worker.terminate();
      reserved.release();
      throw thrown;
    }
    reserved.taken();
    const pool = new DoorPool(workers, reserved);
    workers.forEach((worker, door) => {
      worker.onerror = (event) => options.broken(new Error(event.message));
      worker.onmessage = ({ data }: MessageEvent<FromDoor>) => {
        if (data.kind === "barrier") pool.#passed(data.id);
        else if (data.kind === "tags-read") pool.#tagsRead(data);
        else if (data.kind === "stopped") pool.#stoppedOne();
        else options.receive(door, data);
      };
    });
    return pool;
  }

  post(door: number, message: ToDoor): void {
    this.#workers[door]?.postMessage(message);
  }

  postAll(message: ToDoor): void {
    for (const worker of this.#workers) worker.postMessage(message);
  }

  /** Resolves once every message that a door has posted so far was received. */
  barrier(): Promise<void> {
    const id = this.#nextBarrier++;
    return new Promise((done) => {
      this.#barriers.set(id, { missing: this.#workers.length, done });
      this.postAll({ kind: "barrier", id });
    });
  }

  /**
   * As `tagsOf` (landing/read-tags.ts), with all doors reading. Throws an error with the `code` of node:fs.
   */
  async tagsOf(tagged: TaggedFile): Promise<TagTable> {
    const table = new TagTable(tagged.bytes);
    let next = 0;
    const read = async (door: number) => {
      while (next < table.chunks) {
        const first = next;
        const count = Math.min(chunksAtOnce, table.chunks - first);
        next += count;
        const tags = await this.#tagsAt(door, tagged, first, count);
        for (let i = 0; i < count; i++) {
          table.set(first + i, tags.subarray(i * limits.tagBytes, (i + 1) * limits.tagBytes));
        }
      }
    };
    await Promise.all(this.#workers.map((_, door) => read(door)));
    return table;
  }

  #tagsAt(door: number, tagged: TaggedFile, first: number, count: number): Promise<Uint8Array> {
    const id = this.#nextReading++;
    const reading = Promise.withResolvers<Uint8Array>();
    this.#readings.set(id, reading);
    this.post(door, { kind: "read-tags", id, tagged, first, count });
    return reading.promise;
  }

  #tagsRead({ id, tags, error }: Extract<FromDoor, { kind: "tags-read" }>): void {
    const reading = this.#readings.get(id);
    this.#readings.delete(id);
    if (tags !== null) reading?.resolve(tags);
    else reading?.reject(Object.assign(new Error(error!.message), { code: error!.code }));
  }

  /** Takes no more connections, finishes the chunks in hand, closes. */
  async stop(): Promise<void> {
    await new Promise<void>((done) => {
      this.#stopping = { missing: this.#workers.length, done };
      this.postAll({ kind: "stop" });
    });
    for (const worker of this.#workers) worker.terminate();
    this.#reserved.release();
  }

  #passed(id: number): void {
    const barrier = this.#barriers.get(id);
    if (barrier === undefined || --barrier.missing > 0) return;
    this.#barriers.delete(id);
    barrier.done();
  }

  #stoppedOne(): void {
    if (this.#stopping && --this.#stopping.missing === 0) this.#stopping.done();
  }
}
