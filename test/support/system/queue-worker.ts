/**
 * A Worker that takes what it can from a queue of work until it is told that nothing more will come, and
 * says what it took, in its order.
 */
import { WorkQueue } from "../../../src/transfer/lanes/work-queue.ts";

declare const self: Worker;

/** What the signal holds once everything was laid out. */
export const allLaidOut = -1;

export interface QueueWork {
  memory: SharedArrayBuffer;
  /** One i32 that changes, and is notified, each time there is something new. */
  signal: SharedArrayBuffer;
}

/** File, chunk and the tag's first four bytes of each entry. */
export type Taken = [file: number, chunk: number, have: number][];

self.onmessage = ({ data }: MessageEvent<QueueWork>) => {
  const queue = new WorkQueue(data.memory);
  const signal = new Int32Array(data.signal);
  const taken: Taken = [];
  self.postMessage("ready");
  for (;;) {
    // Read before the queue is: what is laid out after this changes it, and the wait ends at once.
    const seen = Atomics.load(signal, 0);
    for (let next = queue.take(); next !== null; next = queue.take()) {
      const { file, chunk, have } = next;
      const isWhole = have.length === 16 && have.every((byte, at) => byte === have[at % 4]);
      taken.push([file, chunk, isWhole ? have.readUInt32LE(0) : -1]);
    }
    if (seen === allLaidOut) break;
    Atomics.wait(signal, 0, seen);
  }
  self.postMessage(taken);
};
