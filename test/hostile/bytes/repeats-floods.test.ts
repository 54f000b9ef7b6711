/** What a trusted source can make a destination hold by chunks of repeats that are not what they are said to be. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { limits, pagesPerChunk } from "../../../src/protocol/limits.ts";
import { parseWant } from "../../../src/transfer/reuse/store/describe.ts";
import { FloodedServer } from "../../support/hostile/flooded-server.ts";
import type { RawPeer } from "../../support/hostile/raw/peer.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import { chunkOfRepeats, fullBody } from "../../support/hostile/repeating-source.ts";
import { PeakMemory } from "../../support/system/peak-memory.ts";

const mebibyte = 1024 ** 2;
/** What the issue allows a process, in bytes. */
const mostMemoryBytes = 256 * mebibyte;
const { chunkBytes, pageBytes, tagBytes } = limits;

/** A disk of one chunk that the destination has, and one that is said to be made of it. */
const content = randomBytes(chunkBytes);
const vm = new RawVm("flood", [
  { kind: "disk", name: "a", content },
  { kind: "disk", name: "b", content },
]);
const body = fullBody(content);
const pagesAt = body.length - chunkBytes;
const asOne = [{ at: pagesAt, bytes: chunkBytes, file: 0, from: 0 }];
/** As many as there can be, each from somewhere else than the one before. */
const asPages = Array.from({ length: pagesPerChunk }, (_, page) => ({
  at: pagesAt + page * pageBytes,
  bytes: pageBytes,
  file: 0,
  from: ((page * 77) % pagesPerChunk) * pageBytes,
}));

let server: FloodedServer;
beforeEach(async () => {
  server = await FloodedServer.start();
});
afterEach(() => server.close());

/** Sends a frame over and over; resolves once it was answered by as many WANTs. */
async function flood(lane: RawPeer, frame: Buffer, times: number): Promise<void> {
  lane.sendBytes(Buffer.concat(Array.from({ length: times }, () => frame)));
  for (let wanted = 0; wanted < times; ) {
    const { name, payload } = await lane.next();
    if (name !== "want") throw new Error(`${name} in place of a WANT`);
    for (const want of parseWant(payload)) expect(want).toEqual({ file: 1, chunk: 0, found: 0 });
    wanted += parseWant(payload).length;
  }
}

// [COPY-2]
test("lanes flooded with repeats that are wrong have each of them wanted as it is, in the memory of a few", async () => {
  const { openLane } = await server.begin(vm);
  await (await openLane()).sendChunks([vm.chunk(content)]);
  const tag = randomBytes(tagBytes);
  const floods: [number, Buffer][] = [
    [100, chunkOfRepeats(vm, 1, body, asOne, { tag })],
    [50, chunkOfRepeats(vm, 1, body, asPages, { tag })],
    [50, chunkOfRepeats(vm, 1, body, asPages, { tag, compressed: true })],
  ];
  let first = 0;
  const memory = new PeakMemory(server.process.pid);
  for (let round = 0; round < 4; round++) {
    const lanes = await Promise.all([1, 2, 3, 4].map(openLane));
    for (const [times, frame] of floods) {
      const flooding = lanes.map((lane) => flood(lane, frame, times));
      await server.expectServing();
      await Promise.all(flooding);
    }
    // As it is, it is taken.
    for (const lane of lanes) {
      await lane.sendChunks([vm.chunk(content, 1)]);
      lane.close();
    }
    memory.look();
    if (round === 0) first = new PeakMemory(server.process.pid).stop();
  }
  const most = memory.stop();
  expect(most).toBeLessThan(mostMemoryBytes);
  expect(most - first).toBeLessThan(32 * mebibyte);
  expect((await server.process.kill("SIGTERM")).code).toBe(0);
}, 60_000);
