import { describe, expect, test } from "bun:test";
import { WorkQueue } from "../../../src/transfer/lanes/work-queue.ts";
import { allLaidOut, type QueueWork, type Taken } from "../../support/system/queue-worker.ts";

const capacity = 1024;
const tagOf = (number: number) => {
  const tag = Buffer.alloc(16);
  for (let at = 0; at < 16; at += 4) tag.writeUInt32LE(number, at);
  return tag;
};

describe("a queue of work", () => {
  test("gives each entry once, in its order, and then nothing", () => {
    const queue = new WorkQueue();
    expect(queue.take()).toBeNull();
    queue.add(0, 7, tagOf(1));
    queue.add(63, 0xffff_ffff, tagOf(0xffff_ffff));
    expect(queue.size).toBe(2);
    expect(queue.take()).toEqual({ file: 0, chunk: 7, have: tagOf(1) });
    expect(queue.take()).toEqual({ file: 63, chunk: 0xffff_ffff, have: tagOf(0xffff_ffff) });
    expect(queue.take()).toBeNull();
    expect(queue.size).toBe(0);
  });

  test("has room for 1024, refuses one more, and is as it was then", () => {
    const queue = new WorkQueue();
    for (let i = 0; i < capacity; i++) {
      expect(queue.room).toBe(capacity - i);
      queue.add(1, i, tagOf(i));
    }
    expect(queue.room).toBe(0);
    expect(() => queue.add(1, capacity, tagOf(0))).toThrow(RangeError);
    expect(queue.take()).toEqual({ file: 1, chunk: 0, have: tagOf(0) });
    queue.add(1, capacity, tagOf(capacity));
    expect(() => queue.add(1, 0, tagOf(0))).toThrow(RangeError);
    for (let i = 1; i <= capacity; i++) expect(queue.take()).toMatchObject({ chunk: i, have: tagOf(i) });
    expect(queue.take()).toBeNull();
  });

  test("goes round and round, whatever it is filled by", () => {
    const queue = new WorkQueue();
    let [laid, took] = [0, 0];
    for (let fill = 1; laid < 6 * capacity; fill = (fill * 7 + 3) % capacity) {
      for (let i = 0; i < fill && queue.room > 0; i++) queue.add(laid % 64, laid, tagOf(laid++));
      for (let i = 0; i < fill / 2; i++, took++) {
        expect(queue.take()).toEqual({ file: took % 64, chunk: took, have: tagOf(took) });
      }
      expect(queue.size).toBe(laid - took);
    }
  });

  test("gives tags that are not written over by what is laid out later", () => {
    const queue = new WorkQueue();
    queue.add(0, 0, tagOf(1));
    const first = queue.take();
    for (let i = 0; i < capacity; i++) queue.add(0, i, tagOf(9));
    expect(first?.have).toEqual(tagOf(1));
  });

  test("is the same for whoever has its memory", () => {
    const queue = new WorkQueue();
    const other = new WorkQueue(queue.memory);
    queue.add(2, 3, tagOf(4));
    expect(other.size).toBe(1);
    expect(other.take()).toEqual({ file: 2, chunk: 3, have: tagOf(4) });
    expect(queue.take()).toBeNull();
  });

  test("shares its entries among Workers: each is taken by one of them, in order, over many rounds", async () => {
    const entries = 40 * capacity;
    const queue = new WorkQueue();
    const signal = new Int32Array(new SharedArrayBuffer(4));
    const laidOut = (value: number) => {
      Atomics.store(signal, 0, value);
      Atomics.notify(signal, 0);
    };
    const workers = Array.from({ length: 3 }, () => startWorker(queue.memory, signal.buffer));
    try {
      await Promise.all(workers.map(({ ready }) => ready));
      for (let i = 0; i < entries; ) {
        for (; queue.room > 0 && i < entries; i++) queue.add(i % 64, i, tagOf(i));
        laidOut(i);
        await new Promise(setImmediate);
      }
      laidOut(allLaidOut);
      const lists = await Promise.all(workers.map(({ taken }) => taken));
      for (const list of lists) {
        for (const [at, [file, chunk, have]] of list.entries()) {
          expect([file, have]).toEqual([chunk % 64, chunk]);
          if (at > 0) expect(chunk).toBeGreaterThan(list[at - 1]![1]);
        }
      }
      const all = lists.flatMap((list) => list.map(([, chunk]) => chunk)).sort((a, b) => a - b);
      expect(all).toEqual(Array.from({ length: entries }, (_, i) => i));
    } finally {
      for (const { worker } of workers) worker.terminate();
    }
  });
});

/** A Worker on the queue; resolves `ready` once it runs, and `taken` with what it took. */
function startWorker(memory: SharedArrayBuffer, signal: SharedArrayBuffer) {
  const worker = new Worker(new URL("../../support/system/queue-worker.ts", import.meta.url).href);
  const ready = Promise.withResolvers<void>();
  const taken = Promise.withResolvers<Taken>();
  worker.onmessage = ({ data }: MessageEvent<"ready" | Taken>) => {
    if (data === "ready") ready.resolve();
    else taken.resolve(data);
  };
  worker.onerror = ({ message }) => {
    ready.reject(new Error(message));
    taken.reject(new Error(message));
  };
  worker.postMessage({ memory, signal } satisfies QueueWork);
  return { worker, ready: ready.promise, taken: taken.promise };
}
