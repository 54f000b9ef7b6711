import { describe, expect, test } from "bun:test";
import {
  ChunksUnderway,
  type ChunkUnderway,
  foundBytes,
  newChunk,
} from "../../../src/transfer/lanes/chunks-underway.ts";

const chunkNamed = (chunk: number): ChunkUnderway =>
  newChunk({ file: 0, chunk }, Buffer.alloc(16, chunk), 1024 ** 2, 1_000_000);
const place = (chunk: number, found = 0) => ({ file: 0, chunk, found });
const protocolError = expect.objectContaining({ code: "protocol" });

describe("what a lane has under way", () => {
  test("counts those on the link apart from those that wait for a look into the store", () => {
    const underway = new ChunksUnderway();
    const [first, second] = [chunkNamed(1), chunkNamed(2)];
    underway.describe(first);
    underway.send(second);
    expect([underway.size, underway.sent]).toEqual([2, 1]);
    underway.want(place(1, 0b11));
    expect([underway.size, underway.sent]).toEqual([2, 1]);
    underway.send(first);
    expect([underway.size, underway.sent]).toEqual([2, 2]);
    expect(underway.want(place(1, 0)).isAgain).toBe(true);
    expect([underway.size, underway.sent]).toEqual([2, 1]);
    underway.send(first);
    underway.acknowledge(place(1));
    underway.acknowledge(place(2));
    expect([underway.size, underway.sent]).toEqual([0, 0]);
  });

  test("may be acknowledged once it was described or sent, and not while it is wanted", () => {
    const underway = new ChunksUnderway();
    underway.describe(chunkNamed(1));
    underway.describe(chunkNamed(2));
    expect(underway.acknowledge(place(1)).chunk).toBe(1);
    expect(() => underway.acknowledge(place(1))).toThrow(protocolError);
    underway.want(place(2));
    expect(() => underway.acknowledge(place(2))).toThrow(protocolError);
    expect(() => underway.want(place(2))).toThrow(protocolError);
  });

  test("may be wanted again where it was sent as repeats, once, as it is, and not where it was sent whole", () => {
    const underway = new ChunksUnderway();
    const [copied, whole] = [{ ...chunkNamed(1), repeatedBytes: 8192 }, chunkNamed(2)];
    underway.send(copied);
    underway.send(whole);
    expect(() => underway.want(place(2))).toThrow(protocolError);
    expect(() => underway.want(place(1, 1))).toThrow(protocolError);
    expect(underway.want(place(1))).toMatchObject({ chunk: 1, found: 0, isAgain: true });
    expect([underway.size, underway.sent]).toEqual([2, 1]);
    expect(() => underway.want(place(1))).toThrow(protocolError);
    expect(() => underway.acknowledge(place(1))).toThrow(protocolError);
    copied.repeatedBytes = 0;
    underway.send(copied);
    expect(() => underway.want(place(1))).toThrow(protocolError);
    expect(underway.acknowledge(place(1))).toMatchObject({ chunk: 1 });
    expect([underway.size, underway.sent]).toEqual([1, 1]);
  });

  test("counts as found what was described and is there, and of the rest the blocks that were left out", () => {
    expect(foundBytes({ ...chunkNamed(1), state: "described" })).toBe(1_000_000);
    expect(foundBytes({ ...chunkNamed(1), found: 0b101 })).toBe(2 * 65_536);
    expect(foundBytes({ ...chunkNamed(1), found: 0xffff })).toBe(1_000_000);
    expect(foundBytes(chunkNamed(1))).toBe(0);
  });
});
