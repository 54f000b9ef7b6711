/** A source that is let in to a stream and sends zstd that means harm, and those that may not send any. */
import { afterEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { limits } from "../../../src/protocol/limits.ts";
import { ArrivingStreams } from "../../../src/transfer/doors/arriving-streams.ts";
import { StreamTagger, streamKey } from "../../../src/transfer/streams/stream-frame.ts";
import { HostileGround, makeIdentity } from "../../support/hostile/hostile-ground.ts";
import { connectTo, expectStreamFailed, programOf } from "../../support/hostile/hostile-stream.ts";
import type { RawPeer } from "../../support/hostile/raw/peer.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import { expectCaller } from "../../support/system/unix-socket.ts";
import { until } from "../../support/system/until.ts";
import { everything, StreamGround } from "../../transfer/streams/stream-ground.ts";
import { dataPayload } from "../../transfer/streams/stream-slow.ts";

const mebibyte = 1024 * 1024;
const { dataBytes, streamWindowBytes } = limits;

const undone: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of undone.splice(0).reverse()) await undo();
});

interface Let {
  ground: StreamGround;
  peer: RawPeer;
  program: Socket;
  heard: () => Buffer;
}

/** A destination with one door, so that every connection comes to the one that holds the stream. */
async function make(): Promise<StreamGround> {
  const ground = await StreamGround.make({ doors: 1 });
  undone.push(() => ground.close());
  return ground;
}

/** A source that was let in to a stream of this destination; its program reads, or does not. */
async function letIn(ground: StreamGround, stream = 0, reads = true): Promise<Let> {
  const caller = await expectCaller(ground.pathOf(stream));
  undone.push(() => caller.close());
  const peer = await connectTo(ground);
  undone.push(() => peer.close());
  const { session, token: laneToken } = ground;
  await peer.hello({ role: "stream", session, laneToken, stream, received: 0 }).expect("welcome");
  const heard = await programOf(caller, reads);
  undone.push(() => heard.program.destroy());
  return { ground, peer, ...heard };
}

const taggerOf = ({ tagKey, instance }: StreamGround, stream = 0) =>
  new StreamTagger(streamKey(tagKey, instance, "source"), stream);

/** A DATA-ZSTD payload around any frame, with the tag of `bytes`. */
function packed(tagger: StreamTagger, offset: number, bytes: Buffer, frame: Uint8Array): Buffer {
  return dataPayload(Buffer.alloc(16), 0, offset, frame, tagger.tag(offset, bytes));
}

/** The stream has failed: its program is cut off and has heard nothing of it, and both sides are told. */
async function failed(stream: Let, code: string, heardBytes = 0): Promise<void> {
  await expectStreamFailed(stream, code);
  expect(stream.heard().length).toBe(heardBytes);
}

/** The VM of that stream is lost, and the next one comes by the same door as if nothing had been. */
async function servesOn(ground: StreamGround): Promise<void> {
  ground.arriving.drop();
  const { session, instance, token, tagKey, doors, failures } = ground;
  ground.arriving = new ArrivingStreams({
    ...{ session, instance, token, tagKey, doors, peer: ground.route.callee.tls!.peer },
    path: (stream) => ground.pathOf(stream),
    failed: (error) => failures.push(error),
    received: () => {},
  });
  const stream = 1;
  const { peer, heard } = await letIn(ground, stream);
  const bytes = Buffer.alloc(100_000, "an honest one; ");
  peer.sendFrame("dataZstd", packed(taggerOf(ground, stream), 0, bytes, Bun.zstdCompressSync(bytes)));
  await until(() => heard().length === bytes.length, "what is said on it");
  expect(heard().equals(bytes)).toBe(true);
}

const u32 = (n: number) => [n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, (n >>> 24) & 0xff];

/** A zstd frame (RFC 8878) of `blocks` times 128 KiB of zeros, each in four bytes, that declares so much or nothing. */
function zeros(blocks: number, declares?: number): Buffer {
  const head = declares === undefined ? [0, 0x38] : [0xa0, ...u32(declares)];
  const block = (isLast: boolean) =>
    Buffer.from([...u32((isLast ? 1 : 0) | (1 << 1) | (131_072 << 3)).slice(0, 3), 0]);
  const body = Buffer.concat(Array.from({ length: blocks }, (_, i) => block(i === blocks - 1)));
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...head]), body]);
}

const gibibyteBlocks = 8192;
const page = Buffer.alloc(4096, 5);
const good = Bun.zstdCompressSync(page);
const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, ...u32(4), 1, 2, 3, 4]);

const attacks: [string, Buffer, string][] = [
  ["a bomb that declares 1 GiB and holds it", zeros(gibibyteBlocks, 1024 * mebibyte), "protocol"],
  ["a bomb that declares 4 GiB in a few bytes", zeros(1, 0xffff_ffff), "protocol"],
  ["a bomb that declares nothing and holds 1 GiB", zeros(gibibyteBlocks), "protocol"],
  ["a bomb that declares 512 KiB and holds 1 GiB", zeros(gibibyteBlocks, dataBytes), "protocol"],
  ["a bomb behind a good frame", Buffer.concat([good, zeros(gibibyteBlocks)]), "protocol"],
  ["one byte more than a frame may hold", Bun.zstdCompressSync(Buffer.alloc(dataBytes + 1)), "protocol"],
  ["garbage", randomBytes(4096).fill(0x11, 0, 4), "protocol"],
  ["garbage behind the magic number", Buffer.concat([good.subarray(0, 9), randomBytes(4096)]), "protocol"],
  ["bytes as they are", page, "protocol"],
  ["two frames", Buffer.concat([good, good]), "protocol"],
  ["a skippable frame", skippable, "protocol"],
  ["an empty frame", Bun.zstdCompressSync(Buffer.alloc(0)), "protocol"],
  ["nothing", Buffer.alloc(0), "protocol"],
  ["other bytes than the tag is of", Bun.zstdCompressSync(Buffer.alloc(4096, 6)), "integrity"],
];

describe("a source cannot have a stream take as zstd", () => {
  // [STREAM-9] [STREAM-10]
  test.each(attacks)("%s", async (_what, frame, code) => {
    const ground = await make();
    const entry = await letIn(ground);
    const before = process.resourceUsage().maxRSS;
    entry.peer.sendFrame("dataZstd", packed(taggerOf(ground), 0, page, frame));
    await failed(entry, code);
    // What the bombs hold is sixteen times as much.
    expect((process.resourceUsage().maxRSS - before) * 1024).toBeLessThan(64 * mebibyte);
    await servesOn(ground);
  });

  // [STREAM-4] [STREAM-10]
  test("more than a window, however few the bytes that cross the link, where its program does not read", async () => {
    const ground = await make();
    const entry = await letIn(ground, 0, false);
    const tagger = taggerOf(ground);
    const bytes = Buffer.alloc(dataBytes);
    const frame = Bun.zstdCompressSync(bytes);
    const before = process.resourceUsage().maxRSS;
    // 1 GiB in less than 200 KiB.
    for (let i = 0; i < 2048; i++)
      entry.peer.sendFrame("dataZstd", packed(tagger, i * dataBytes, bytes, frame));
    expect((await entry.peer.error()).code).toBe("protocol");
    await entry.peer.ended();
    await until(() => ground.failures.length === 1, "the failure");
    // A window, and as much again for what was decoded last.
    expect((process.resourceUsage().maxRSS - before) * 1024).toBeLessThan(8 * streamWindowBytes);
    await servesOn(ground);
  });

  // [STREAM-2] [STREAM-9]
  test("what its program says next at the place where the zstd frame ends", async () => {
    const ground = await make();
    const entry = await letIn(ground);
    const tagger = taggerOf(ground);
    entry.peer.sendFrame("dataZstd", packed(tagger, 0, page, good));
    entry.peer.sendFrame(
      "data",
      dataPayload(Buffer.alloc(16), 0, good.length, page, tagger.tag(good.length, page)),
    );
    await failed(entry, "protocol", page.length);
  });
});

describe("a DATA-ZSTD frame ends the connection with protocol", () => {
  const payload = dataPayload(Buffer.alloc(16), 0, 0, good, Buffer.alloc(16));

  // [STAND-3] [STAND-4] [STAND-6]
  test("of a control connection and of a lane, and the destination serves on", async () => {
    const ground = await HostileGround.make();
    undone.push(() => ground.close());
    const source = await ground.trustedSource();
    const vm = new RawVm("zstd");
    await ground.withstands(
      async () => {
        const control = await ground.joined(source);
        expect((await control.sendFrame("dataZstd", payload).error()).code).toBe("protocol");
        await control.ended();
        const owner = await ground.joined(source);
        const { laneToken } = await owner.offer(vm.offer());
        const lane = await ground.connect({ identity: source });
        await lane.hello({ role: "lane", session: owner.session, laneToken }).expect("welcome");
        expect((await lane.sendFrame("dataZstd", payload).error()).code).toBe("protocol");
        await lane.ended();
        owner.send("cancel", {});
        await owner.expect("cancelled");
      },
      // The offer that a lane needs opens the index of what the store holds.
      { except: ["store/.migrate-", "destination-home/index"] },
    );
  });

  // [STAND-6]
  test("of a stranger", async () => {
    const ground = await HostileGround.make();
    undone.push(() => ground.close());
    const stranger = await ground.connect({ identity: await makeIdentity() });
    expect((await stranger.sendFrame("dataZstd", payload).error()).code).toBe("protocol");
    await stranger.ended();
    await ground.expectServing();
  });

  // [STAND-6] [STREAM-9]
  test("that a destination sends to a source, though its bytes and its tag be right", async () => {
    const ground = await StreamGround.make({ doors: 1, secure: false, parseFrames: true, compression: 1 });
    undone.push(() => ground.close());
    const { source, destination } = await ground.join(0);
    const tagger = new StreamTagger(streamKey(ground.tagKey, ground.instance, "destination"), 0);
    let changed = 0;
    ground.proxy.rewrite = (direction, name, frame) => {
      if (direction !== "to-source" || name !== "data") return;
      // What the destination says is a zstd frame: as DATA it is bytes as any others.
      frame[4] = 41;
      tagger.tag(0, page).copy(frame, limits.frameHeaderBytes + 8);
      changed++;
    };
    const heard = everything(source).catch(() => Buffer.alloc(0));
    destination.write(good);
    const failure = await ground.pool.ended(0).then(
      () => "none",
      ({ code }: { code: string }) => code,
    );
    expect([failure, changed]).toEqual(["protocol", 1]);
    expect((await heard).length).toBe(0);
  });
});
