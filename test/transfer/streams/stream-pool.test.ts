/** Streams from program to program, over a link that does what links do. */
import { afterEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readdirSync, readlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { limits } from "../../../src/protocol/limits.ts";
import { StreamPool } from "../../../src/transfer/streams/stream-pool.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { seeded } from "../../support/system/random.ts";
import { expectCaller } from "../../support/system/unix-socket.ts";
import { until } from "../../support/system/until.ts";
import { cutAgain, expectBothWays } from "./both-ways.ts";
import { everything, type GroundOptions, nobodys, StreamGround } from "./stream-ground.ts";

const testMs = 90_000;
const streamTest = (what: string, work: () => Promise<void>) => test(what, work, testMs);
const grounds: StreamGround[] = [];
afterEach(async () => {
  for (const ground of grounds.splice(0)) await ground.close();
});

async function make(options?: GroundOptions): Promise<StreamGround> {
  const ground = await StreamGround.make(options);
  grounds.push(ground);
  return ground;
}

/** Says all of this to a program, as fast as it is taken; `taken` is what the system has. */
function say(socket: Socket, bytes: Buffer): { taken: () => number } {
  const stepBytes = 64 * 1024;
  let at = 0;
  const step = () => {
    while (at < bytes.length && !socket.destroyed) {
      const piece = bytes.subarray(at, at + stepBytes);
      at += piece.length;
      if (!socket.write(piece)) break;
    }
    if (at < bytes.length) socket.once("drain", step);
    else socket.end();
  };
  step();
  return { taken: () => at - socket.writableLength };
}

/** The program hears that nothing more will come; it must be listening, and may have heard it already. */
async function ended(program: Socket): Promise<void> {
  program.resume();
  await until(() => program.readableEnded || program.destroyed, "the program's end");
}

const failureOf = (promise: Promise<unknown>) =>
  withDeadline(
    promise.then(
      () => ({ code: "none", message: "" }),
      ({ code, message }: { code: string; message: string }) => ({ code, message }),
    ),
    60_000,
    "a failure",
  );

describe("a stream", () => {
  // [STREAM-4] [STREAM-6] [STREAM-8]
  for (const secure of [true, false]) {
    streamTest(
      `arrives whole in both directions while its link is cut at random places, ${secure ? "with" : "without"} TLS`,
      async () => {
        const random = seeded(`cuts of a stream, ${secure ? "with" : "without"} TLS`);
        const ground = await make({ secure, doors: 2 });
        const { source, destination } = await ground.join(0);
        const there = randomBytes(48 * 1024 * 1024);
        const back = randomBytes(16 * 1024 * 1024);
        cutAgain(ground, 12, () => {
          return {
            direction: random.chance(0.7) ? "to-destination" : "to-source",
            bytes: 1 + random.below(3 * 1024 * 1024),
            how: random.pick(["end", "reset"] as const),
            scope: "link",
          };
        });
        await expectBothWays(ground, { source, destination }, { there, back }, say);
        expect(ground.links.filter(({ state }) => state === "lost").length).toBeGreaterThan(2);
        expect(ground.pool.sentBytes).toBeGreaterThan(there.length);
        expect(ground.receivedBytes).toBeGreaterThan(there.length);
      },
    );
  }

  // [STREAM-1]
  streamTest("goes on at the door that holds it, whichever door a new connection comes to", async () => {
    const ground = await make({ doors: 3 });
    const { source, destination } = await ground.join(0);
    const holder = ground.asked.at(-1)!;
    let heard = 0;
    destination.on("data", ({ length }: Buffer) => {
      heard += length;
    });
    let said = 0;
    // Until a connection has come to another door; each time the stream goes on all the same.
    while (ground.asked.every((door) => door === holder)) {
      const restored = new Promise<void>((done) => {
        ground.heardLink = (state) => state === "restored" && done();
      });
      ground.proxy.breakAll();
      await withDeadline(restored, 30_000, "the stream to go on");
      source.write("x");
      said++;
      await until(() => heard === said, "what was said");
    }
    expect(ground.asked.at(-1)).toBe(holder);
    expect(ground.failures).toEqual([]);
  });

  streamTest("that hears nothing connects again, and loses nothing", async () => {
    const ground = await make({ timing: { pingMs: 100, silenceMs: 500 } });
    const { source, destination } = await ground.join(0);
    const arrived = everything(destination);
    source.write("before");
    await until(() => ground.pool.carried(0).toDestination === 6, "the first word");
    ground.proxy.breakAll("silence");
    say(source, Buffer.from(" and after"));
    destination.end();
    expect((await arrived).toString()).toBe("before and after");
    await ground.pool.ended(0);
    expect(ground.links.map(({ state }) => state)).toEqual(["lost", "restored"]);
    expect(ground.links[0]!.message).toContain("nothing was heard");
  });

  streamTest("that is idle is not taken for dead", async () => {
    const ground = await make({ secure: false, parseFrames: true, timing: { pingMs: 50, silenceMs: 400 } });
    await ground.join(0);
    await until(() => ground.proxy.passed("pong") >= 20, "twenty answers");
    expect(ground.links).toEqual([]);
  });

  streamTest("lets either program say its last first, and the other go on", async () => {
    for (const first of ["source", "destination"] as const) {
      const ground = await make();
      const programs = await ground.join(0);
      const [early, late] =
        first === "source"
          ? [programs.source, programs.destination]
          : [programs.destination, programs.source];
      const heardEarly = everything(late);
      early.end("first");
      expect((await heardEarly).toString()).toBe("first");
      const heardLate = everything(early);
      late.write("still ");
      late.end("here");
      expect((await heardLate).toString()).toBe("still here");
      await ground.pool.ended(0);
    }
  });

  // [STREAM-7]
  streamTest("whose program breaks off breaks off at the other end, too, whichever end it was", async () => {
    for (const gone of ["source", "destination"] as const) {
      const ground = await make();
      const programs = await ground.join(0);
      const [dying, other] =
        gone === "source" ? [programs.source, programs.destination] : [programs.destination, programs.source];
      // The other one never listens: it writes, as a QEMU that sends its RAM does.
      other.on("end", () => {});
      other.resume();
      dying.destroy();
      const write = () => {
        if (!other.destroyed) other.write("x".repeat(10_000), () => setTimeout(write, 1));
      };
      write();
      await until(() => other.destroyed, "the other program to be broken off");
      expect((await failureOf(ground.pool.ended(0))).code).toBe("qemu-failed");
    }
  });

  streamTest("keeps a window of what a program does not read, and then has the other one wait", async () => {
    const ground = await make();
    const { source, destination } = await ground.join(0);
    const bytes = randomBytes(40 * 1024 * 1024);
    const { taken } = say(source, bytes);
    let before = -1;
    let sameSinceMs = 0;
    await until(() => {
      if (taken() !== before) sameSinceMs = performance.now();
      before = taken();
      return performance.now() - sameSinceMs > 700;
    }, "the program to be held up");
    expect(taken()).toBeGreaterThan(limits.streamWindowBytes - limits.dataBytes);
    // Beside the window, what fits into the two sockets' own buffers.
    expect(taken()).toBeLessThan(limits.streamWindowBytes + 2 * 1024 * 1024);
    expect((await everything(destination)).equals(bytes)).toBe(true);
  });

  streamTest("takes what a program says while the link is away, up to a window", async () => {
    const ground = await make();
    const { source, destination } = await ground.join(0);
    ground.proxy.refusing = true;
    ground.proxy.breakAll();
    await until(() => ground.links.length > 0, "the loss of the link");
    const { taken } = say(source, randomBytes(20 * 1024 * 1024));
    await until(() => taken() > limits.streamWindowBytes - limits.dataBytes, "a window of bytes");
    ground.proxy.refusing = false;
    expect((await everything(destination)).length).toBe(20 * 1024 * 1024);
  });

  streamTest("keeps to its bandwidth, and to another one from the moment it is told", async () => {
    const rate = 2 * 1024 * 1024;
    const ground = await make({ bandwidthBytesPerSec: rate });
    const { source, destination } = await ground.join(0);
    const bytes = randomBytes(3 * 1024 * 1024);
    let startMs = performance.now();
    let heard = 0;
    destination.on("data", ({ length }: Buffer) => {
      heard += length;
    });
    source.write(bytes);
    await until(() => heard === bytes.length, "everything");
    const slowMs = performance.now() - startMs;
    expect(slowMs).toBeGreaterThan((bytes.length / rate) * 1000 * 0.85);
    ground.pool.pace(100 * rate);
    startMs = performance.now();
    source.write(bytes);
    await until(() => heard === 2 * bytes.length, "everything again");
    expect(performance.now() - startMs).toBeLessThan(slowMs / 2);
    ground.pool.pace(rate);
    ground.pool.pace(null);
    startMs = performance.now();
    source.write(bytes);
    await until(() => heard === 3 * bytes.length, "everything once more");
    expect(performance.now() - startMs).toBeLessThan(slowMs / 2);
  });
});

describe("several streams", () => {
  streamTest("share one link and do not mix", async () => {
    const ground = await make({ workers: 2 });
    const said = await Promise.all(
      [0, 1, 2, 16].map(async (stream) => {
        const programs = await ground.join(stream);
        const bytes = randomBytes(3 * 1024 * 1024 + stream);
        const arrived = everything(programs.destination);
        say(programs.source, bytes);
        programs.destination.end();
        return { stream, bytes, arrived };
      }),
    );
    for (const { bytes, arrived } of said) expect((await arrived).equals(bytes)).toBe(true);
    const results = await Promise.all(said.map(({ stream }) => ground.pool.ended(stream)));
    await ground.arriving.allEnded([0, 1, 2, 16], 5000);
    expect(ground.arriving.results()).toEqual(results);
  });
});

describe("a stream that cannot be", () => {
  streamTest("is given up once the destination has been away for too long", async () => {
    const ground = await make({ retryForMs: 600 });
    const { source } = await ground.join(0);
    ground.proxy.refusing = true;
    ground.proxy.breakAll();
    expect((await failureOf(ground.pool.ended(0))).code).toBe("network");
    source.resume();
    await until(() => source.readableEnded, "the program's end");
  });

  // [STREAM-1]
  streamTest(
    "is refused alike with the wrong token, of another session, and where there is no such stream",
    async () => {
      const ground = await make();
      const other = randomBytes(16).toString("hex");
      for (const [stream, change] of [
        [0, { token: other }],
        [0, { session: other }],
        [nobodys, {}],
      ] as const) {
        const options = { workers: 1, bandwidthBytesPerSec: null, link: () => {} };
        const pool = new StreamPool({ ...ground.route, ...change }, options);
        const { fd, program } = await ground.sourceProgram();
        program.resume();
        expect(await failureOf(pool.open(stream, fd))).toEqual({
          code: "policy",
          message: "this lane belongs to no session that is being received",
        });
        pool.close();
      }
      expect(ground.failures).toEqual([]);
    },
  );

  streamTest("is refused where the destination's program is not there, and stays refused", async () => {
    const ground = await make();
    const open = async (stream: number) => {
      const { fd, program } = await ground.sourceProgram();
      program.resume();
      const failure = await failureOf(ground.pool.open(stream, fd));
      await ended(program);
      return failure;
    };
    const failure = await open(4);
    expect(failure.code).toBe("qemu-failed");
    // A path is nobody else's business.
    expect(failure.message).not.toContain(ground.folder);
    await until(() => ground.failures.length > 0, "the destination's own people to be told");
    expect(ground.failures.map(({ code }) => code)).toEqual(["qemu-failed"]);
    const caller = await expectCaller(ground.pathOf(5));
    expect((await open(5)).code).toBe("qemu-failed");
    caller.close();
    expect((await failureOf(ground.arriving.allEnded([4], 60_000))).code).toBe("qemu-failed");
  });

  streamTest("is closed with the pool, even where it was handed over only just before", async () => {
    const ground = await make();
    const { fd, program } = await ground.sourceProgram();
    const opened = failureOf(ground.pool.open(0, fd));
    ground.pool.close();
    expect((await opened).code).toBe("cancelled");
    await ended(program);
  });

  streamTest("ends with the pool: promises, programs and descriptors", async () => {
    const ground = await make();
    const { source, destination } = await ground.join(0);
    const sockets = () =>
      readdirSync("/proc/self/fd").filter((fd) => linkOf(fd).startsWith("socket:")).length;
    const before = sockets();
    ground.pool.close();
    ground.pool.close();
    expect((await failureOf(ground.pool.ended(0))).code).toBe("cancelled");
    await ended(source);
    await until(() => sockets() < before, "the descriptors");
    const { fd, program } = await ground.sourceProgram();
    program.resume();
    expect((await failureOf(ground.pool.open(1, fd))).code).toBe("cancelled");
    await ended(program);
    // The destination waits for the source to come back, until it is told that nobody will.
    expect(destination.destroyed).toBe(false);
    ground.arriving.drop();
    await ended(destination);
    expect((await failureOf(ground.arriving.allEnded([0], 60_000))).code).toBe("cancelled");
  });
});

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "";
  }
}
