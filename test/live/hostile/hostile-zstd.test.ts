/** A trusted source that compresses what a running VM sends: it arrives as it is, or nothing of it runs. */
import { expect, test } from "bun:test";
import { limits } from "../../../src/protocol/limits.ts";
import { testsAttackRunningDestination } from "../../support/hostile/grounds-of-tests.ts";
import { disk, type HostileArrivals } from "../../support/hostile/hostile-arrivals.ts";
import { processesNaming, type RawStream } from "../../support/hostile/raw/running-vm.ts";

const mebibyte = 1024 * 1024;
let at: HostileArrivals;

testsAttackRunningDestination((made) => {
  at = made;
});

// [STREAM-9]
test("a VM that comes compressed, in pieces as large as may be and in small ones, is taken over", async () => {
  const begun = await at.started();
  expect(begun.started.zstd).toBe(true);
  const stream = await at.openStream(begun, 0);
  for (let from = 0, piece = 0; from < at.ram.length; piece++) {
    const bytes = at.ram.subarray(from, from + [limits.dataBytes, 1, 10_000][piece % 3]!);
    if (piece % 5 === 4) stream.send(bytes);
    else stream.sendZstd(bytes);
    from += bytes.length;
  }
  await at.handOver(begun, [stream.end()]);
});

/** 1 GiB of zeros in 8192 blocks of four bytes, in a frame that declares this or, without it, nothing. */
function bomb(declares?: number): Buffer {
  const head = Buffer.from([
    0x28,
    0xb5,
    0x2f,
    0xfd,
    ...(declares === undefined ? [0, 0x38] : [0xa0, 0, 0, 0, 0]),
  ]);
  if (declares !== undefined) head.writeUInt32LE(declares, 5);
  const blocks = Buffer.alloc(8192 * 4);
  for (let i = 0; i < 8192; i++)
    blocks.writeUIntLE((i === 8191 ? 1 : 0) | (1 << 1) | (131_072 << 3), i * 4, 3);
  return Buffer.concat([head, blocks]);
}

// [STREAM-10]
test.each([
  [
    "a bomb that declares what it holds",
    (stream: RawStream) => stream.sendZstd(disk.content, bomb(1024 * mebibyte)),
    "protocol",
  ],
  [
    "a bomb that declares little",
    (stream: RawStream) => stream.sendZstd(disk.content, bomb(4096)),
    "protocol",
  ],
  ["a bomb that declares nothing", (stream: RawStream) => stream.sendZstd(disk.content, bomb()), "protocol"],
  ["bytes that are no zstd", (stream: RawStream) => stream.sendZstd(disk.content, disk.content), "protocol"],
  [
    "other bytes than its tag is of",
    (stream: RawStream) => stream.sendZstd(disk.content, Bun.zstdCompressSync(Buffer.alloc(4096, 8))),
    "integrity",
  ],
] as const)(
  "a VM that sends %s is not taken over, and nothing is left of it",
  async (_what, attack, code) => {
    const begun = await at.started();
    const stream = await at.openStream(begun, 0);
    const before = process.resourceUsage().maxRSS;
    attack(stream);
    expect((await begun.peer.error()).code).toBe(code);
    await begun.peer.ended();
    expect((process.resourceUsage().maxRSS - before) * 1024).toBeLessThan(64 * mebibyte);
    await at.expectGone(begun);
    expect(at.stateOf(begun)).toBe("cancelled");
    expect(processesNaming(begun.run)).toEqual([]);
    await at.ground.expectServing();
  },
);
