/** A source that is let in to a stream and means harm, and one that is not let in. */
import { afterEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { makeCertificate } from "../../../src/channel/certificate.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { StreamTagger, streamKey } from "../../../src/transfer/streams/stream-frame.ts";
import { connectTo, expectStreamFailed, programOf } from "../../support/hostile/hostile-stream.ts";
import type { RawPeer } from "../../support/hostile/raw/peer.ts";
import { type ExpectedCaller, expectCaller } from "../../support/system/unix-socket.ts";
import { until } from "../../support/system/until.ts";
import { type GroundOptions, nobodys, StreamGround } from "../../transfer/streams/stream-ground.ts";
import {
  ackPayload,
  dataPayload,
  endPayload,
  slowDigest,
  slowTag,
} from "../../transfer/streams/stream-slow.ts";

const undone: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of undone.splice(0).reverse()) await undo();
});

/** A destination with one door, so that every connection comes to the one that holds the stream. */
async function make(options: GroundOptions = {}): Promise<StreamGround> {
  const ground = await StreamGround.make({ doors: 1, ...options });
  undone.push(() => ground.close());
  return ground;
}

/** A connection of the source that the session belongs to. */
async function connect(
  ground: StreamGround,
  certificate = ground.route.callee.tls!.credentials,
): Promise<RawPeer> {
  const peer = await connectTo(ground, certificate);
  undone.push(() => peer.close());
  return peer;
}

/** Says HELLO of stream 0, with whatever is to be different. */
async function asks(ground: StreamGround, change: Record<string, unknown> = {}): Promise<RawPeer> {
  const peer = await connect(ground);
  const { session, token: laneToken } = ground;
  return peer.hello({ role: "stream", session, laneToken, stream: 0, received: 0, ...change });
}

async function callerOf(ground: StreamGround): Promise<ExpectedCaller> {
  const caller = await expectCaller(ground.pathOf(0));
  undone.push(() => caller.close());
  return caller;
}

interface Let {
  ground: StreamGround;
  peer: RawPeer;
  /** The destination's program, and what it has heard. */
  program: Socket;
  heard: () => Buffer;
}

/** A source that was let in to stream 0. */
async function letIn(reads = true): Promise<Let> {
  const ground = await make();
  const caller = await callerOf(ground);
  const peer = await asks(ground);
  expect((await peer.expect("welcome")).received).toBe(0);
  const heard = await programOf(caller, reads);
  undone.push(() => heard.program.destroy());
  return { ground, peer, ...heard };
}

const keyOf = ({ tagKey, instance }: StreamGround) => streamKey(tagKey, instance, "source");
const bytes = randomBytes(100);

function data(ground: StreamGround, offset: number, piece: Buffer = bytes, tag?: Buffer): Buffer {
  return dataPayload(keyOf(ground), 0, offset, piece, tag);
}

/** The stream has failed: both sides of it are told, and whoever comes again is told the same. */
async function failed(stream: Let, code: string): Promise<void> {
  await expectStreamFailed(stream, code);
  expect((await (await asks(stream.ground)).error()).code).toBe(code);
}

const refused = { code: "policy", message: "this lane belongs to no session that is being received" };

describe("a stream is not let in", () => {
  // [STREAM-1]
  test("with a wrong token, of another session, of another host, or where there is none of its number", async () => {
    const ground = await make();
    const other = randomBytes(16).toString("hex");
    for (const change of [{ laneToken: other }, { session: other }, { stream: nobodys }]) {
      const peer = await asks(ground, change);
      expect(await peer.error()).toEqual(refused);
      await peer.ended();
    }
    const peer = await connect(ground, await makeCertificate());
    const { session, token: laneToken } = ground;
    peer.hello({ role: "stream", session, laneToken, stream: 0, received: 0 });
    expect(await peer.error()).toEqual(refused);
    expect(ground.failures).toEqual([]);
  });

  // [STREAM-1]
  test("where its HELLO leaves something out", async () => {
    const ground = await make();
    for (const field of ["session", "laneToken", "stream", "received"]) {
      expect((await (await asks(ground, { [field]: undefined })).error()).code).toBe("protocol");
    }
    expect(ground.asked).toEqual([]);
  });

  test("after which it sends, or before", async () => {
    const { ground } = await letIn();
    const peer = await connect(ground);
    const { session, token: laneToken } = ground;
    peer.hello({ role: "stream", session, laneToken, stream: 0, received: 0 });
    peer.sendFrame("data", data(ground, 0));
    expect((await peer.error()).code).toBe("protocol");
  });
});

describe("on a stream a source cannot", () => {
  // [STREAM-2]
  test("leave something out, or say something twice", async () => {
    for (const offset of [1, 200]) {
      const let1 = await letIn();
      let1.peer.sendFrame("data", data(let1.ground, 0)).sendFrame("data", data(let1.ground, offset));
      await failed(let1, "protocol");
      expect(let1.heard().equals(bytes)).toBe(true);
    }
  });

  // [STREAM-5]
  test("say bytes that its tag is not of: they are not handed on", async () => {
    const entry = await letIn();
    const { peer, ground } = entry;
    peer.sendFrame("data", data(ground, 0, bytes, slowTag(keyOf(ground), 0, 0, randomBytes(100))));
    await failed(entry, "integrity");
    expect(entry.heard().length).toBe(0);
  });

  // [STREAM-6]
  test("end with a digest that is wrong, or go on behind the end", async () => {
    const wrong = await letIn();
    wrong.peer.sendFrame("data", data(wrong.ground, 0));
    wrong.peer.sendFrame("dataEnd", endPayload(100, slowDigest(0, [], 100)));
    await failed(wrong, "integrity");
    expect(wrong.ground.arriving.results()).toEqual([]);
    const more = await letIn();
    const tag = slowTag(keyOf(more.ground), 0, 0, bytes);
    more.peer.sendFrame("data", data(more.ground, 0));
    more.peer.sendFrame("dataEnd", endPayload(100, slowDigest(0, [tag], 100)));
    more.peer.sendFrame("data", data(more.ground, 100));
    await failed(more, "protocol");
  });

  // [STREAM-3]
  test("acknowledge what was never said, or take an acknowledgement back", async () => {
    const early = await letIn();
    early.peer.sendFrame("dataAck", ackPayload(1));
    await failed(early, "protocol");
    const back = await letIn();
    back.program.write("twelve bytes");
    expect((await back.peer.next()).name).toBe("data");
    back.peer.sendFrame("dataAck", ackPayload(12)).sendFrame("dataAck", ackPayload(0));
    await failed(back, "protocol");
    const within = await letIn();
    within.program.write("twelve bytes");
    expect((await within.peer.next()).name).toBe("data");
    within.peer.sendFrame("dataAck", ackPayload(5));
    await failed(within, "protocol");
  });

  // [STREAM-3]
  test("claim in HELLO what it was never sent", async () => {
    const entry = await letIn();
    const peer = await asks(entry.ground, { received: 7 });
    expect((await peer.error()).code).toBe("protocol");
    await until(() => entry.ground.failures.length === 1, "the failure");
  });

  test.each(["hello", "welcome", "offer", "seal", "release", "cancel", "chunk", "ack", "start"] as const)(
    "say %s",
    async (name) => {
      const entry = await letIn();
      entry.peer.sendFrame(name, Buffer.alloc(40));
      await failed(entry, "protocol");
    },
  );

  // [STREAM-4]
  test("have more under way than a window, where the program does not read", async () => {
    const entry = await letIn(false);
    const { ground, peer } = entry;
    const tagger = new StreamTagger(keyOf(ground), 0);
    const piece = Buffer.alloc(limits.dataBytes, 7);
    for (let at = 0; at < 4 * limits.streamWindowBytes; at += piece.length) {
      peer.sendFrame("data", dataPayload(keyOf(ground), 0, at, piece, tagger.tag(at, piece)));
    }
    expect((await peer.error()).code).toBe("protocol");
    await until(() => ground.failures.length === 1, "the failure");
    // What lay in the program's socket, and a window and two frames beside it, is all that was looked at.
    expect(ground.receivedBytes).toBeLessThan(limits.streamWindowBytes + 3 * limits.dataBytes);
  });

  test("make the destination keep more than a window by not reading", async () => {
    const { peer, program } = await letIn();
    peer.socket.pause();
    const wanted = 64 * 1024 * 1024;
    let given = 0;
    const step = () => {
      while (given < wanted) {
        given += 64 * 1024;
        if (!program.write(Buffer.alloc(64 * 1024))) break;
      }
      program.once("drain", step);
    };
    step();
    let before = -1;
    let sinceMs = 0;
    await until(() => {
      const taken = given - program.writableLength;
      if (taken !== before) sinceMs = performance.now();
      before = taken;
      return performance.now() - sinceMs > 500;
    }, "the program to be held up");
    expect(before).toBeGreaterThan(limits.streamWindowBytes - limits.dataBytes);
    expect(before).toBeLessThan(limits.streamWindowBytes + 2 * 1024 * 1024);
  });

  test("go on after it has said that something is wrong", async () => {
    const entry = await letIn();
    entry.peer.send("error", { code: "qemu-failed", message: "it broke" });
    entry.program.resume();
    await until(() => entry.program.readableEnded, "the program's end");
    await until(() => entry.ground.failures.length > 0, "the destination's own people to be told");
    expect(entry.ground.failures).toMatchObject([
      { code: "qemu-failed", message: "it broke", side: "source" },
    ]);
  });
});

describe("a second connection of a stream", () => {
  // [STREAM-1]
  test("takes the place of the first, and what came on that does not count any more", async () => {
    const { ground, peer, heard } = await letIn();
    peer.sendFrame("data", data(ground, 0));
    await until(() => heard().length === 100, "the first bytes");
    const second = await asks(ground);
    expect((await second.expect("welcome")).received).toBe(100);
    await peer.ended();
    peer.sendFrame("data", data(ground, 100, randomBytes(50)));
    const more = randomBytes(50);
    second.sendFrame("data", data(ground, 100, more));
    await until(() => heard().length === 150, "the rest");
    expect(heard().equals(Buffer.concat([bytes, more]))).toBe(true);
    expect(ground.failures).toEqual([]);
  });

  test("forty at once leave one, and one connection to the program", async () => {
    const ground = await make();
    const caller = await callerOf(ground);
    const peers = await Promise.all(Array.from({ length: 40 }, () => asks(ground)));
    const program = await caller.socket;
    undone.push(() => program.destroy());
    await until(() => peers.filter((peer) => !peer.isClosed).length === 1, "one to be left");
    const [left] = peers.filter((peer) => !peer.isClosed);
    await left!.expect("welcome");
    left!.sendFrame("data", data(ground, 0));
    program.resume();
    await until(() => program.bytesRead === 100, "what it says");
    expect(ground.failures).toEqual([]);
  });

  // [STREAM-4]
  test("cannot change what came already and waits for the program", async () => {
    const { ground, peer, program } = await letIn(false);
    const tagger = new StreamTagger(keyOf(ground), 0);
    const first = randomBytes(limits.dataBytes);
    const frame = (at: number, piece: Buffer) =>
      dataPayload(keyOf(ground), 0, at, piece, tagger.tag(at, piece));
    // The first is more than the program's socket holds, so the second waits behind it.
    const second = randomBytes(1000);
    peer.sendFrame("data", frame(0, first)).sendFrame("data", frame(first.length, second));
    await until(() => ground.receivedBytes > first.length + 1000, "both");
    const again = await asks(ground);
    expect((await again.expect("welcome")).received).toBe(0);
    again.sendFrame("data", frame(0, randomBytes(first.length)));
    again.sendFrame("data", frame(first.length, randomBytes(1000)));
    const heard: Buffer[] = [];
    program.on("data", (piece: Buffer) => heard.push(piece));
    await until(() => program.bytesRead === first.length + 1000, "both at the program");
    expect(Buffer.concat(heard).equals(Buffer.concat([first, second]))).toBe(true);
  });
});
