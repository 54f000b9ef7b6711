/** Chunks that make no sense: nothing of them is written. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { limits } from "../../../src/protocol/limits.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { offeredRam, openLaneOf, type RawSession } from "../../support/hostile/raw/session.ts";
import type { RawVm } from "../../support/hostile/raw/vm.ts";

const { pageBytes, chunkBytes } = limits;
const outOfOrder = "a chunk has runs out of order or outside of it";

let ground: HostileGround;
let source: RawIdentity;

testsAttackDestination({}, async (made) => {
  ground = made;
  source = await ground.trustedSource();
});

const begin = (bytes?: number) => offeredRam(ground, source, bytes);
const openLane = (begun: RawSession) => openLaneOf(ground, source, begun);

/** A body's runs, each (first page, pages), and its pages. */
function body(runs: [number, number][], pages: Buffer): Buffer {
  const head = Buffer.alloc(2 + runs.length * 4);
  head.writeUInt16BE(runs.length, 0);
  runs.forEach(([first, length], i) => {
    head.writeUInt16BE(first, 2 + i * 4);
    head.writeUInt16BE(length, 4 + i * 4);
  });
  return Buffer.concat([head, pages]);
}

describe("a chunk is not written", () => {
  const page = Buffer.alloc(pageBytes, "p");
  const pages = (n: number) => Buffer.alloc(n * pageBytes, "p");
  /** What is sent for a file of two full chunks and 100 bytes. */
  const chunks: [string, (vm: RawVm) => Buffer, string | RegExp, string?][] = [
    [
      "of a file that the VM does not have",
      (vm) => vm.rawChunk(body([[0, 1]], page), { file: 1 }),
      "a chunk names file 1, which the VM does not have",
    ],
    [
      "of file 2^32 - 1",
      (vm) => vm.rawChunk(body([[0, 1]], page), { file: 2 ** 32 - 1 }),
      /names file 4294967295/,
    ],
    [
      "behind the end of its file",
      (vm) => vm.rawChunk(body([[0, 1]], page), { chunk: 3 }),
      "a chunk lies outside of its file (0, 3)",
    ],
    [
      "at 2^52 bytes",
      (vm) => vm.rawChunk(body([[0, 1]], page), { chunk: 2 ** 32 - 1 }),
      /lies outside of its file/,
    ],
    [
      "that reaches over the end of its file",
      (vm) => vm.rawChunk(body([[0, 1]], page), { chunk: 2 }),
      "a chunk has runs that do not fit its data",
    ],
    [
      "whose run begins behind the file's end",
      (vm) => vm.rawChunk(body([[1, 1]], page), { chunk: 2 }),
      outOfOrder,
    ],
    ["whose run goes on into the next chunk", (vm) => vm.rawChunk(body([[255, 2]], pages(2))), outOfOrder],
    ["whose run has 65,535 pages", (vm) => vm.rawChunk(body([[0, 65_535]], page)), outOfOrder],
    [
      "whose runs overlap",
      (vm) =>
        vm.rawChunk(
          body(
            [
              [0, 3],
              [2, 2],
            ],
            pages(5),
          ),
        ),
      outOfOrder,
    ],
    [
      "whose runs touch",
      (vm) =>
        vm.rawChunk(
          body(
            [
              [0, 1],
              [1, 1],
            ],
            pages(2),
          ),
        ),
      outOfOrder,
    ],
    [
      "whose runs go backwards",
      (vm) =>
        vm.rawChunk(
          body(
            [
              [4, 1],
              [0, 1],
            ],
            pages(2),
          ),
        ),
      outOfOrder,
    ],
    ["whose run is empty", (vm) => vm.rawChunk(body([[0, 0]], Buffer.alloc(0))), outOfOrder],
    [
      "with more runs than pages",
      (vm) =>
        vm.rawChunk(
          body(
            Array.from({ length: 129 }, (_, i) => [i * 2, 1]),
            pages(129),
          ),
        ),
      "a chunk has too many runs",
    ],
    [
      "with 65,535 runs and nothing else",
      (vm) => vm.rawChunk(Buffer.from("ffff", "hex")),
      "a chunk has too many runs",
    ],
    [
      "with less data than its runs say",
      (vm) => vm.rawChunk(body([[0, 2]], page)),
      "a chunk has runs that do not fit its data",
    ],
    [
      "with more data than its runs say",
      (vm) => vm.rawChunk(body([[0, 1]], pages(2))),
      "a chunk has runs that do not fit its data",
    ],
    [
      "with data and no run",
      (vm) => vm.rawChunk(body([], page)),
      "a chunk has runs that do not fit its data",
    ],
    ["cut short", (vm) => vm.rawChunk(Buffer.alloc(1)), "a chunk is cut short"],
    ["without anything", (vm) => vm.rawChunk(Buffer.alloc(0)), "a chunk is cut short"],
    [
      "that says another length",
      (vm) => vm.rawChunk(body([[0, 1]], page), { bodyBytes: 2 ** 32 - 1 }),
      "a chunk has the wrong length",
    ],
    [
      "in an encoding that is not known",
      (vm) => vm.rawChunk(body([[0, 1]], page), { encoding: 4 }),
      "a chunk has an encoding that is not known",
    ],
    [
      "that says it is compressed and is not",
      (vm) => vm.rawChunk(body([[0, 1]], page), { encoding: 1 }),
      "what came compressed is no zstd frame",
    ],
    [
      "with a wrong tag",
      (vm) => vm.rawChunk(body([[0, 1]], page), { tag: randomBytes(16) }),
      "chunk 0 of file 0 was damaged on its way",
      "integrity",
    ],
    [
      "with the tag of zeros",
      (vm) => vm.rawChunk(body([[0, 1]], page), { tag: Buffer.alloc(16) }),
      "chunk 0 of file 0 was damaged on its way",
      "integrity",
    ],
    [
      "of zeros with a tag",
      (vm) => vm.rawChunk(body([], Buffer.alloc(0)), { tag: randomBytes(16) }),
      "chunk 0 of file 0 was damaged on its way",
      "integrity",
    ],
    [
      "with another chunk's tag",
      (vm) => {
        const frame = vm.chunk(page, 0, 1);
        frame.writeUInt32BE(0, 5 + 4);
        return frame;
      },
      "chunk 0 of file 0 was damaged on its way",
      "integrity",
    ],
    [
      "longer than any chunk",
      () => Buffer.from("0010023320", "hex"),
      /^a chunk frame of 1049139 bytes exceeds the limit of 1049122$/,
    ],
    [
      "of 2^32 - 1 bytes",
      () => Buffer.from("ffffffff20", "hex"),
      /^a chunk frame of 4294967295 bytes exceeds the limit/,
    ],
  ];
  test.each(chunks)("%s", async (_what, make, message, code = "protocol") => {
    const begun = await begin(2 * chunkBytes + 100);
    const open = await openLane(begun);
    await ground.withstands(async () => {
      const error = await open.sendBytes(make(begun.vm)).error();
      expect(error.code).toBe(code);
      if (typeof message === "string") expect(error.message).toBe(message);
      else expect(error.message).toMatch(message);
      await open.ended();
      expect(open.frames.some(({ name }) => name === "ack")).toBe(false);
    });
  });

  test("of which half came", async () => {
    const begun = await begin();
    const open = await openLane(begun);
    await ground.withstands(async () => {
      const [frame] = begun.vm.chunks();
      open.sendBytes(frame!.subarray(0, frame!.length - 1));
      open.socket.end();
      await open.ended();
    });
  });
});
