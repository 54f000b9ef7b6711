/** Compressed streams from program to program, over a link that does what links do. */
import { afterEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { limits } from "../../../src/protocol/limits.ts";
import { seeded } from "../../support/system/random.ts";
import { until } from "../../support/system/until.ts";
import { cutAgain, expectBothWays } from "./both-ways.ts";
import { everything, type GroundOptions, StreamGround } from "./stream-ground.ts";

const testMs = 90_000;
const streamTest = (what: string, work: () => Promise<void>) => test(what, work, testMs);
const mebibyte = 1024 * 1024;
const grounds: StreamGround[] = [];
afterEach(async () => {
  for (const ground of grounds.splice(0)) await ground.close();
});

async function make(options: GroundOptions): Promise<StreamGround> {
  const ground = await StreamGround.make(options);
  grounds.push(ground);
  return ground;
}

/** Pages as a guest's RAM has them: text for the most part, zeros, and some that do not shrink. */
function ram(bytes: number): Buffer {
  const words = Buffer.from(randomBytes(mebibyte).toString("hex"));
  const content = Buffer.alloc(bytes);
  const random = seeded("the RAM of a stream");
  for (let at = 0; at < bytes; at += 128 * 1024) {
    const kind = random.below(8);
    if (kind === 0) continue;
    if (kind === 1) randomBytes(128 * 1024).copy(content, at);
    else words.copy(content, at, random.below(words.length - 128 * 1024));
  }
  return content;
}

/** Says all of this, as fast as it is taken, and then its last. */
function say(socket: Socket, bytes: Buffer): void {
  socket.write(bytes);
  socket.end();
}

/** Sends everything over and gives what has crossed the link on the way there, frame heads and all. */
async function carry(ground: StreamGround, bytes: Buffer): Promise<number> {
  const { source, destination } = await ground.join(0);
  const before = ground.proxy.bytes["to-destination"];
  const arrived = everything(destination);
  say(source, bytes);
  expect((await arrived).equals(bytes)).toBe(true);
  destination.end();
  const result = await ground.pool.ended(0);
  expect(result.bytes).toBe(bytes.length);
  await ground.arriving.allEnded([0], 5000);
  expect(ground.arriving.results()).toEqual([result]);
  expect(ground.pool.carried(0).toDestination).toBe(bytes.length);
  return ground.proxy.bytes["to-destination"] - before;
}

describe("a compressed stream", () => {
  // [STREAM-9]
  streamTest("arrives as it was said, with fewer bytes on the link and in what is told of it", async () => {
    const bytes = ram(24 * mebibyte);
    const ground = await make({ secure: false, parseFrames: true, compression: 1 });
    const crossed = await carry(ground, bytes);
    expect(crossed).toBeLessThan(0.75 * bytes.length);
    expect(ground.proxy.passed("dataZstd")).toBeGreaterThan(20);
    expect(ground.pool.sentBytes).toBeLessThan(0.75 * bytes.length);
    expect(ground.pool.sentBytes).toBeGreaterThan(0.9 * crossed);
    expect(ground.failures).toEqual([]);
  });

  // [STREAM-4] [STREAM-6] [STREAM-9]
  for (const secure of [true, false]) {
    streamTest(
      `arrives whole while its link is cut at random places, ${secure ? "with" : "without"} TLS`,
      async () => {
        const random = seeded(`cuts of a compressed stream, ${secure ? "with" : "without"} TLS`);
        const ground = await make({ secure, doors: 2, compression: 1 });
        const { source, destination } = await ground.join(0);
        const there = ram(48 * mebibyte);
        const back = randomBytes(32 * mebibyte);
        cutAgain(ground, 12, () => {
          // Near its end the other direction may be over before it comes to its cut.
          const isBack = source.bytesRead < back.length / 2 && random.chance(0.3);
          return {
            direction: isBack ? "to-source" : "to-destination",
            bytes: 1 + random.below(mebibyte),
            how: random.pick(["end", "reset"] as const),
            scope: "link",
          };
        });
        await expectBothWays(ground, { source, destination }, { there, back }, say);
        expect(ground.links.filter(({ state }) => state === "lost").length).toBeGreaterThanOrEqual(8);
      },
    );
  }

  // [STREAM-4] [STREAM-9]
  streamTest("says its frames again as they were, each in the same bytes", async () => {
    const ground = await make({ secure: false, parseFrames: true, compression: 1 });
    const { source, destination } = await ground.join(0);
    const frames = new Map<string, Set<string>>();
    const total = 2 * limits.streamWindowBytes;
    let heard = 0;
    let said = 0;
    ground.proxy.rewrite = (direction, name, frame) => {
      if (direction !== "to-destination" || (name !== "data" && name !== "dataZstd")) return;
      const offset = frame.readBigUInt64BE(limits.frameHeaderBytes).toString();
      const ways = frames.get(offset) ?? new Set();
      frames.set(offset, ways.add(Bun.hash(frame).toString()));
      heard++;
      said++;
    };
    // Nobody reads: a window stays unacknowledged, and crosses the link again on each connection.
    source.write(ram(total));
    await until(() => frames.size >= 8, "some frames");
    for (let connection = 2; connection <= 4; connection++) {
      heard = 0;
      ground.proxy.breakAll();
      await until(() => heard >= 8, `what is said again on connection ${connection}`);
    }
    destination.resume();
    await until(() => destination.bytesRead === total, "everything");
    expect(said).toBeGreaterThan(frames.size + 16);
    expect([...frames.values()].filter(({ size }) => size !== 1)).toEqual([]);
  });

  // [STREAM-9]
  streamTest("goes as it is where it does not shrink", async () => {
    const bytes = randomBytes(8 * mebibyte);
    const ground = await make({ secure: false, parseFrames: true, compression: 1 });
    const crossed = await carry(ground, bytes);
    expect(ground.proxy.passed("dataZstd")).toBe(0);
    expect(ground.proxy.passed("data")).toBeGreaterThan(10);
    expect(crossed).toBeLessThan(1.01 * bytes.length);
  });

  streamTest(
    "goes as it is from the destination to the source, at whatever level the source sends",
    async () => {
      const ground = await make({ secure: false, parseFrames: true, compression: 1 });
      const { source, destination } = await ground.join(0);
      const arrived = everything(source);
      say(destination, Buffer.alloc(4 * mebibyte, "back "));
      expect((await arrived).length).toBe(4 * mebibyte);
      expect(ground.proxy.passed("dataZstd")).toBe(0);
    },
  );

  streamTest("goes by the bytes that cross the link where there is a bandwidth to keep to", async () => {
    const bandwidthBytesPerSec = mebibyte / 4;
    const bytes = Buffer.alloc(24 * mebibyte, "the same again and again; ");
    const startMs = performance.now();
    await carry(await make({ bandwidthBytesPerSec, compression: 1 }), bytes);
    // As they are they would take a minute and a half, on the fastest machine.
    expect(performance.now() - startMs).toBeLessThan(45_000);
  });
});

describe("two compressed streams on one thread", () => {
  streamTest("arrive whole while their links are cut, and the end of one is not the other's", async () => {
    const random = seeded("cuts of two compressed streams");
    const ground = await make({ parseFrames: true, secure: false, compression: "auto", workers: 1 });
    const streams = await Promise.all([ground.join(0), ground.join(1)]);
    const said = [ram(12 * mebibyte), ram(36 * mebibyte)];
    const arrived = streams.map(({ destination }) => everything(destination));
    for (let cuts = 0; cuts < 4; cuts++) {
      const most = ground.proxy.bytes["to-destination"] + 1 + random.below(2 * mebibyte);
      if (cuts === 0) for (const [i, { source }] of streams.entries()) say(source, said[i]!);
      await until(() => ground.proxy.bytes["to-destination"] >= most, `cut ${cuts}`);
      ground.proxy.breakAll();
    }
    for (const [i, bytes] of said.entries()) expect((await arrived[i]!).equals(bytes)).toBe(true);
    for (const { destination } of streams) destination.end();
    const results = [await ground.pool.ended(0), await ground.pool.ended(1)];
    await ground.arriving.allEnded([0, 1], 5000);
    expect(ground.arriving.results()).toEqual(results);
  });
});

describe("at off", () => {
  // [STREAM-9]
  streamTest("no frame is ever compressed, however well it would shrink", async () => {
    const bytes = Buffer.alloc(16 * mebibyte, "compressible ");
    const ground = await make({ secure: false, parseFrames: true, compression: "off" });
    const crossed = await carry(ground, bytes);
    expect(ground.proxy.passed("dataZstd")).toBe(0);
    expect(crossed).toBeGreaterThan(bytes.length);
  });
});

describe("at auto", () => {
  streamTest("a link that is slow is given fewer bytes", async () => {
    const bytes = Buffer.alloc(24 * mebibyte, randomBytes(2048).toString("hex"));
    const ground = await make({
      secure: false,
      parseFrames: true,
      compression: "auto",
      bandwidthBytesPerSec: 8 * mebibyte,
    });
    expect(await carry(ground, bytes)).toBeLessThan(0.5 * bytes.length);
  });
});
