/** What a lane gets for a body: a frame that gives it back, or nothing where that does not pay. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { ChunkCompressor, type Engine } from "../../../src/transfer/compression/chunk-compressor.ts";
import { decompressBody } from "../../../src/transfer/compression/zstd-frame.ts";

const mebibyte = 1024 * 1024;
const random = randomBytes(mebibyte);
const text = Buffer.from(randomBytes(mebibyte / 2).toString("hex"));

/** Notes the level and the length of all that is compressed. */
function noting(): { engine: Engine; calls: { level: number; bytes: number }[] } {
  const calls: { level: number; bytes: number }[] = [];
  return {
    calls,
    engine: (data, level) => {
      calls.push({ level, bytes: data.length });
      return Bun.zstdCompressSync(data, { level });
    },
  };
}

test("a thread that is slow at first does not take its own work for a slow link", () => {
  let nowMs = 0;
  const engine: Engine = (data) => {
    nowMs += (12 * data.length) / mebibyte;
    return data.subarray(0, data.length / 2);
  };
  const compressor = new ChunkCompressor("auto", { nowMs: () => nowMs, engine, idleShare: () => 0 });
  // Until it answers for the first time the other side takes a while, and the link is fast.
  nowMs += 6;
  compressor.waited(6);
  const sent: number[] = [];
  for (let i = 0; i < 20; i++) {
    sent.push((compressor.compress(text) ?? text).length);
    nowMs += 1.5;
    // There is always one more under way.
    if (i > 0) compressor.acknowledged(sent[i - 1]!);
  }
  expect(sent.filter((bytes) => bytes < text.length).length).toBeLessThanOrEqual(3);
});

describe("a fixed level", () => {
  test("compresses every body, at this level", () => {
    const { engine, calls } = noting();
    const frame = new ChunkCompressor(5, { engine }).compress(text)!;
    expect(decompressBody(frame, mebibyte).equals(text)).toBe(true);
    expect(calls).toEqual([{ level: 5, bytes: mebibyte }]);
  });

  test("leaves as it is what does not shrink by 3 %", () => {
    // Of 64 pages two are zero: a little more than 3 %; of one page a little less.
    const nearly = (zeroPages: number) =>
      Buffer.concat([random.subarray(zeroPages * 4096, 64 * 4096), Buffer.alloc(zeroPages * 4096)]);
    const compressor = new ChunkCompressor(1);
    expect(compressor.compress(random)).toBeNull();
    expect(compressor.compress(nearly(1))).toBeNull();
    expect(compressor.compress(nearly(2))).not.toBeNull();
  });

  test("leaves a body of a page or two as it is", () => {
    expect(new ChunkCompressor(1).compress(text.subarray(0, 4096))).toBeNull();
  });

  test("that is high finds out by samples that a body does not shrink", () => {
    const { engine, calls } = noting();
    expect(new ChunkCompressor(19, { engine }).compress(random)).toBeNull();
    expect(calls.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(32 * 1024);
  });

  test("that zstd does not have is refused", () => {
    for (const level of [0, 20, -1, 1.5, Number.NaN])
      expect(() => new ChunkCompressor(level)).toThrow(RangeError);
  });
});

test("off compresses nothing and measures nothing", () => {
  const { engine, calls } = noting();
  const compressor = new ChunkCompressor("off", {
    engine,
    nowMs: () => {
      throw new Error("looked at the clock");
    },
  });
  expect(compressor.compress(text)).toBeNull();
  compressor.waited(5);
  compressor.acknowledged(mebibyte);
  compressor.rested(5);
  expect(calls).toEqual([]);
});

/** A lane on a slow link in a time of its own: each chunk is acknowledged before the next. */
function slowly(compressor: ChunkCompressor, clock: { ms: number }, body: Buffer): Buffer | null {
  const frame = compressor.compress(body);
  const wire = (frame ?? body).length;
  clock.ms += (wire / mebibyte) * 100;
  compressor.acknowledged(wire + 37);
  compressor.waited((wire / mebibyte) * 100);
  return frame;
}

describe("auto", () => {
  test("on a slow link gives frames that give the bodies back, whatever the level", () => {
    const clock = { ms: 0 };
    const levels = new Set<number>();
    const engine: Engine = (data, level) => {
      if (data.length === mebibyte) levels.add(level);
      clock.ms += data.length / mebibyte;
      return Bun.zstdCompressSync(data, { level });
    };
    const compressor = new ChunkCompressor("auto", { nowMs: () => clock.ms, engine, idleShare: () => 1 });
    for (let i = 0; i < 60; i++) {
      const body = Buffer.from(text);
      body.writeUInt32BE(i, i * 1000);
      const frame = slowly(compressor, clock, body);
      expect(frame).not.toBeNull();
      expect(decompressBody(frame!, mebibyte).equals(body)).toBe(true);
    }
    expect(levels.size).toBeGreaterThan(1);
  });

  test("does not keep a body: the lane reads the next chunk into the same room", () => {
    const clock = { ms: 0 };
    const compressor = new ChunkCompressor("auto", { nowMs: () => clock.ms, idleShare: () => 1 });
    const room = Buffer.from(text);
    const frame = slowly(compressor, clock, room)!;
    room.fill(0);
    expect(decompressBody(frame, mebibyte).equals(text)).toBe(true);
  });

  test("looks at a few samples of random data and no more, once it knows", () => {
    const clock = { ms: 0 };
    const { engine, calls } = noting();
    const compressor = new ChunkCompressor("auto", { nowMs: () => clock.ms, engine, idleShare: () => 1 });
    for (let i = 0; i < 20; i++) expect(slowly(compressor, clock, random)).toBeNull();
    expect(Math.max(...calls.map(({ bytes }) => bytes))).toBeLessThanOrEqual(64 * 1024);
  });

  test("compresses no more on a link that the lane never waits for", () => {
    let nowMs = 0;
    const { engine, calls } = noting();
    const compressor = new ChunkCompressor("auto", {
      nowMs: () => nowMs,
      engine: (data, level) => {
        nowMs += 2 * (data.length / mebibyte);
        return engine(data, level);
      },
    });
    for (let i = 0; i < 500; i++) {
      const frame = compressor.compress(text);
      nowMs += 1;
      compressor.acknowledged((frame ?? text).length + 37);
    }
    // The first few, before anything is known.
    expect(calls.filter(({ bytes }) => bytes === mebibyte).length).toBeLessThanOrEqual(4);
    expect(calls.length).toBeLessThan(30);
  });

  test("spends 2 % of its time at most on looking whether a busy destination's data would shrink", () => {
    let nowMs = 0;
    let samplingMs = 0;
    const compressor = new ChunkCompressor("auto", {
      nowMs: () => nowMs,
      engine: (data, level) => {
        nowMs += 2 * (data.length / mebibyte);
        samplingMs += 2 * (data.length / mebibyte);
        return Bun.zstdCompressSync(data, { level });
      },
      idleShare: () => 0,
    });
    for (let i = 0; i < 1000; i++) {
      const frame = compressor.compress(text);
      nowMs += 3;
      compressor.acknowledged((frame ?? text).length + 37);
      compressor.waited(2);
    }
    expect(samplingMs).toBeGreaterThan(0);
    expect(samplingMs).toBeLessThan(0.02 * nowMs);
  });
});

describe("looking for what need not be sent", () => {
  /** A lane on a link that takes so long for 1 MiB, in a time of its own; what it does itself takes 1 ms a chunk. */
  function lane(wireMsPerMiB: number) {
    const clock = { ms: 0 };
    const compressor = new ChunkCompressor("auto", { nowMs: () => clock.ms, idleShare: () => 0 });
    const send = (body: Buffer, wholeBytes?: number) => {
      const wire = (compressor.compress(body, wholeBytes) ?? body).length;
      const wireMs = (wire / mebibyte) * wireMsPerMiB;
      clock.ms += 1 + wireMs;
      compressor.acknowledged(wire + 37);
      if (wireMs > 1) compressor.waited(wireMs);
    };
    return { compressor, send, clock };
  }

  test("is worth it at every level, and never where all is sent as it is", () => {
    for (const level of [1, 19] as const) {
      const { isLinkSlow, mayLinkBeSlow } = new ChunkCompressor(level);
      expect([isLinkSlow, mayLinkBeSlow]).toEqual([true, true]);
    }
    const off = new ChunkCompressor("off");
    off.compress(random);
    expect([off.isLinkSlow, off.mayLinkBeSlow]).toEqual([false, false]);
  });

  test("is in doubt for auto until it knows, then worth it where the link is slow, and not where it is fast", () => {
    for (const [msPerMiB, isSlow] of [
      [100, true],
      [8, true],
      [0.1, false],
    ] as const) {
      const { compressor, send } = lane(msPerMiB);
      expect([compressor.isLinkSlow, compressor.mayLinkBeSlow]).toEqual([false, true]);
      for (let i = 0; i < 200; i++) send(random);
      expect([compressor.isLinkSlow, compressor.mayLinkBeSlow]).toEqual([isSlow, isSlow]);
    }
  });

  test("is in doubt no more as soon as acknowledgements say otherwise, long before a period is over", () => {
    for (const [msPerMiB, mayBeSlow] of [
      [8, true],
      [0.1, false],
    ] as const) {
      const { compressor, send, clock } = lane(msPerMiB);
      for (let i = 0; i < 5; i++) send(random);
      expect(clock.ms).toBeLessThan(50);
      expect([compressor.isLinkSlow, compressor.mayLinkBeSlow]).toEqual([false, mayBeSlow]);
    }
  });

  test("goes on on a slow link where so much is left out that nobody waits for it", () => {
    const { compressor, send, clock } = lane(100);
    for (let i = 0; i < 20; i++) send(random);
    const shortened = random.subarray(0, 28);
    // For less than a second: in that time nobody can know whether the link has become faster.
    for (const endMs = clock.ms + 900; clock.ms < endMs; ) {
      send(shortened, mebibyte);
      expect(compressor.isLinkSlow).toBe(true);
    }
  });
});
