/** Lines cut from a stream: whole whatever the pieces, and never more held than allowed. */
import { describe, expect, test } from "bun:test";
import { LineCutter, parseQmpLine } from "../../../../src/vm/qemu/qmp/qmp-line.ts";

const bytes = (text: string) => Buffer.from(text);

function cut(cutter: LineCutter, piece: Uint8Array): string[] {
  return [...cutter.take(piece)].map((line) => Buffer.from(line).toString());
}

describe("cutting", () => {
  test("gives the same lines however the stream is divided", () => {
    const lines = ["a", "", "bc", "x".repeat(200_000), "last"];
    const stream = bytes(lines.map((line) => `${line}\n`).join(""));
    for (const size of [1, 2, 3, 100, 65_536, stream.length]) {
      const cutter = new LineCutter(1_000_000);
      const got: string[] = [];
      for (let at = 0; at < stream.length; at += size)
        got.push(...cut(cutter, stream.subarray(at, at + size)));
      expect(got).toEqual(lines);
      expect(cutter.heldBytes).toBe(0);
    }
  });

  test("takes a line of exactly the limit and refuses one byte more, in one piece or in many", () => {
    expect(cut(new LineCutter(10), bytes("0123456789\n"))).toEqual(["0123456789"]);
    expect(() => cut(new LineCutter(10), bytes("0123456789x\n"))).toThrow("longer than 10 bytes");
    const slow = new LineCutter(10);
    for (const byte of bytes("0123456789")) cut(slow, Uint8Array.of(byte));
    expect(() => cut(slow, bytes("x"))).toThrow(RangeError);
    expect(slow.heldBytes).toBe(10);
  });

  test("stores nothing of a piece that is too much", () => {
    const cutter = new LineCutter(10);
    cut(cutter, bytes("abc"));
    expect(() => cut(cutter, new Uint8Array(1_000_000))).toThrow(RangeError);
    expect(cutter.heldBytes).toBe(3);
  });
});

test("an event without data has an empty one", () => {
  const line = bytes('{"event": "STOP", "timestamp": {"seconds": 2, "microseconds": 500}}\r');
  expect(parseQmpLine(line)).toEqual({ kind: "event", event: { event: "STOP", data: {}, atMs: 2000.5 } });
});
