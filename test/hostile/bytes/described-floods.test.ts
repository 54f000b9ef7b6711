/** What a trusted source can make a destination hold by describing and compressing: next to nothing [STAND-8]. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { frameTypes } from "../../../src/protocol/frames.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { zeroTag } from "../../../src/transfer/chunks/tag-table.ts";
import { BlockHasher } from "../../../src/transfer/reuse/store/block-hash.ts";
import { encodeDescribe } from "../../../src/transfer/reuse/store/describe.ts";
import { chunkWithout } from "../../support/hostile/describing-source.ts";
import { FloodedServer } from "../../support/hostile/flooded-server.ts";
import type { RawPeer } from "../../support/hostile/raw/peer.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import { PeakMemory } from "../../support/system/peak-memory.ts";

const mebibyte = 1024 ** 2;
/** What the issue allows a process, in bytes. */
const mostMemoryBytes = 256 * mebibyte;
const { blockBytes, blockHashBytes, frameHeaderBytes, tagBytes } = limits;

/** One block that the destination has, and a short one that it has not: many answers for few bytes. */
const content = randomBytes(blockBytes + 100);
const missing = content.subarray(blockBytes);
const vm = new RawVm("flood", [{ kind: "disk", name: "disk", content }]);

let server: FloodedServer;
beforeEach(async () => {
  server = await FloodedServer.start((store) => {
    mkdirSync(join(store, "golden"), { recursive: true, mode: 0o700 });
    writeFileSync(join(store, "golden", "disk.raw"), content.subarray(0, blockBytes));
  });
});
afterEach(() => server.close());

/** Sends frames over and over and reads nothing, until that many bytes have gone or no more are taken. */
async function flood(lane: RawPeer, frames: Buffer, bytes: number): Promise<void> {
  lane.socket.pause();
  for (let sent = 0; sent < bytes && !lane.socket.destroyed; sent += frames.length) {
    if (lane.socket.write(frames)) continue;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    // Whoever takes nothing for so long has had enough; what is left is the kernel's.
    const timer = setTimeout(() => resolve(false), 400);
    lane.socket.once("drain", () => resolve(true));
    const isTaken = await promise;
    clearTimeout(timer);
    if (!isTaken) return;
  }
}

test("lanes flooded with DESCRIBE and with chunks that leave out blocks keep their memory, and serve goes on", async () => {
  const { accepted, openLane } = await server.begin(vm, { base: "golden" });
  const hasher = new BlockHasher(Buffer.from(accepted.index!, "hex"));
  const right = vm.chunk(content).subarray(frameHeaderBytes + 12, frameHeaderBytes + 12 + tagBytes);
  const describe = (tag: Uint8Array) => encodeDescribe(0, 0, tag, hasher.hashes(content));
  const wrong = randomBytes(tagBytes);
  const floods: [number, Buffer[]][] = [
    // Answered by ACK over and over: a chunk of zeros.
    [8 * mebibyte, [encodeDescribe(0, 0, zeroTag, Buffer.alloc(2 * blockHashBytes))]],
    // By WANT and ACK, and by WANT and WANT.
    [0.5 * mebibyte, [describe(right), chunkWithout(1, Buffer.from(right), 1, missing)]],
    [0.5 * mebibyte, [describe(wrong), chunkWithout(1, wrong, 1, missing)]],
  ];
  const memory = new PeakMemory(server.process.pid);
  for (const [bytes, frames] of floods) {
    const lanes = await Promise.all([1, 2, 3, 4].map(openLane));
    const many = Buffer.concat(Array.from({ length: 500 }, () => frames).flat());
    await Promise.all(lanes.map((lane) => flood(lane, many, bytes)));
    for (const lane of lanes) expect(lane.isClosed).toBe(false);
  }
  await server.expectServing();
  expect(memory.stop()).toBeLessThan(mostMemoryBytes);
  expect((await server.process.kill("SIGTERM")).code).toBe(0);
});

/** CHUNK in zstd that says it is 1 GiB of zeros (RFC 8878, section 3.1.1), and holds `blocks` times 128 KiB of it. */
function bomb(blocks: number): Buffer {
  const singleSegmentOfFourByteSize = 0xa0;
  const size = Buffer.alloc(4);
  size.writeUInt32LE(1024 * mebibyte);
  // A byte that is repeated 128 KiB times; the last block has the lowest bit set.
  const block = Buffer.from([0x02, 0x00, 0x10, 0x00]);
  const zstd = Buffer.concat([
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, singleSegmentOfFourByteSize]),
    size,
    ...new Array<Buffer>(blocks - 1).fill(block),
    Buffer.from([0x03, 0x00, 0x10, 0x00]),
  ]);
  return vm.rawChunk(zstd, { encoding: 1, tag: randomBytes(tagBytes) });
}

// [ZSTD-2]
test.each([
  ["that lies", 1],
  ["that holds what it says", 8192],
])("a chunk %s about being 1 GiB ends its lane, and no memory is taken for it", async (_which, blocks) => {
  const frame = bomb(blocks);
  expect(frame[4]).toBe(frameTypes.chunk);
  if (blocks === 1) expect(frame.length).toBeLessThanOrEqual(50);
  const { openLane } = await server.begin(vm, { base: "golden" });
  const calm = await openLane();
  const before = new PeakMemory(server.process.pid).stop();
  const watch = new PeakMemory(server.process.pid);
  for (let i = 0; i < 8; i++) {
    const lane = await openLane();
    const { code, message } = await lane.sendBytes(frame).error();
    expect([code, message]).toEqual(["protocol", expect.stringContaining("declares 1073741824 bytes")]);
    await lane.ended();
  }
  const [whole] = vm.chunks();
  expect((await calm.sendBytes(whole!).next()).name).toBe("ack");
  await server.expectServing();
  expect(watch.stop() - before).toBeLessThan(32 * mebibyte);
});
