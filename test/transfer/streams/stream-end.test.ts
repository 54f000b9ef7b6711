/** One end of a stream between a program that the test plays and a connection that keeps what it is given. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket } from "bun";
import { FrameSocket, type RawSocket } from "../../../src/channel/frame-socket.ts";
import { UnixListener } from "../../../src/platform/unix-listener.ts";
import type { MigrateError } from "../../../src/protocol/errors.ts";
import { FrameDecoder, type FrameName } from "../../../src/protocol/frames.ts";
import { type CompressedStream, StreamCompressor } from "../../../src/transfer/streams/stream-compressor.ts";
import { StreamEnd } from "../../../src/transfer/streams/stream-end.ts";
import { streamTiming } from "../../../src/transfer/streams/stream-watch.ts";
import { until } from "../../support/system/until.ts";

const kibibyte = 1024;
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

class Played {
  readonly failures: MigrateError[] = [];
  /** Names of the frames that went out. */
  readonly frames: FrameName[] = [];
  readonly end: StreamEnd;
  readonly program: Socket<undefined>;
  readonly #fd: number;

  static async make(options: {
    bandwidthBytesPerSec?: number;
    compressed?: CompressedStream;
  }): Promise<Played> {
    const folder = mkdtempSync(join(tmpdir(), "migrate-end-"));
    const listener = UnixListener.listen(join(folder, "program"));
    try {
      const program = await Bun.connect({ unix: listener.path, allowHalfOpen: true, socket: { data() {} } });
      cleanups.push(() => program.terminate());
      return new Played(program as Socket<undefined>, await listener.accept(), options);
    } finally {
      listener.close();
      rmSync(folder, { recursive: true });
    }
  }

  private constructor(
    program: Socket<undefined>,
    fd: number,
    options: { bandwidthBytesPerSec?: number; compressed?: CompressedStream },
  ) {
    this.program = program;
    this.#fd = fd;
    this.end = new StreamEnd({
      side: "source",
      stream: 0,
      tagKey: Buffer.alloc(16),
      instance: "ab".repeat(16),
      timing: streamTiming,
      bandwidthBytesPerSec: null,
      inboundEnded: () => {},
      over: () => {},
      failed: (error) => this.failures.push(error),
      ...options,
    });
    cleanups.push(() => this.end.close());
  }

  /** From now on the program is heard. */
  async adopt(): Promise<void> {
    await this.end.local.adopt(this.#fd);
  }

  /** Carries the stream over a connection that takes everything and never answers. */
  carry(): void {
    const decoder = new FrameDecoder("stream-destination", (name) => this.frames.push(name));
    const link = new FrameSocket("stream-source");
    const raw = {
      setNoDelay: () => {},
      write: (bytes: Buffer) => {
        decoder.push(bytes);
        return bytes.length;
      },
      shutdown: () => {},
      terminate: () => {},
    };
    link.attach(raw as object as RawSocket);
    link.handler = { frame: () => {}, closed: () => {} };
    this.end.carry(link, 0);
  }

  /** The program says as much at once as its socket takes; gives how many bytes each frame stands for. */
  async pieces(): Promise<number[]> {
    const taken = this.program.write(Buffer.alloc(1024 * kibibyte, "what a program says; "));
    expect(taken).toBeGreaterThan(128 * kibibyte);
    await this.adopt();
    await until(() => this.end.outbox.bytes === taken, "what was said to be taken up");
    const ends = this.end.outbox.unacknowledged.map(({ end }) => end);
    return ends.map((end, i) => end - (ends[i - 1] ?? 0));
  }
}

/** Makes nothing smaller, and goes wrong at this piece. */
function breaking(atPiece: number): CompressedStream {
  let pieces = 0;
  return {
    begin: () => {},
    compress: () => {
      if (++pieces === atPiece) throw new Error("out of memory");
      return null;
    },
    worked: () => {},
    acknowledged: () => {},
    close: () => {},
  };
}

describe("what goes wrong while a piece is taken up", () => {
  for (const isCarried of [true, false]) {
    test(`fails the stream ${isCarried ? "on its connection" : "without one"}, and does not pass for a program that said less`, async () => {
      const played = await Played.make({ compressed: breaking(2) });
      if (isCarried) played.carry();
      await played.adopt();
      played.program.write("one");
      await until(() => played.end.outbox.bytes === 3, "the first piece");
      played.program.write("two");
      played.program.write("three");
      played.program.end();
      await until(() => played.failures.length > 0, "the failure");
      expect(played.failures.map(({ message }) => message)).toEqual(["out of memory"]);
      expect(played.end.isClosed).toBe(true);
      expect(played.end.outbox.finished).toBe(false);
      expect(played.frames).toEqual(isCarried ? ["data", "error"] : []);
    });
  }

  test("fails it where it is the program's last word, too", async () => {
    const played = await Played.make({});
    played.carry();
    await played.adopt();
    const { outbox } = played.end;
    const finish = outbox.finish.bind(outbox);
    // It works the next time: what went wrong once must not be made up for in silence.
    const breaksOnce = () => {
      outbox.finish = finish;
      throw new Error("out of memory");
    };
    outbox.finish = breaksOnce;
    played.program.end();
    await until(() => played.failures.length > 0, "the failure");
    expect(played.frames).toEqual(["error"]);
  });
});

describe("a frame stands for", () => {
  const level3 = () => new StreamCompressor(3).stream();

  test("up to 128 KiB of the program where it is compressed and there is a bandwidth to keep to", async () => {
    const played = await Played.make({ compressed: level3(), bandwidthBytesPerSec: 1024 * kibibyte });
    const pieces = await played.pieces();
    expect(Math.max(...pieces)).toBe(128 * kibibyte);
    const frames = played.end.outbox.unacknowledged;
    expect(frames[0]!.bytes!.length).toBeLessThan(kibibyte);
  });

  test("no more than a second's worth where the bandwidth is small", async () => {
    const played = await Played.make({ compressed: level3(), bandwidthBytesPerSec: 64 * kibibyte });
    expect(Math.max(...(await played.pieces()))).toBe(64 * kibibyte);
  });

  test("20 ms' worth where nothing is compressed", async () => {
    const played = await Played.make({ bandwidthBytesPerSec: 1024 * kibibyte });
    expect(Math.max(...(await played.pieces()))).toBe(Math.floor(0.02 * 1024 * kibibyte));
  });

  test("everything that was read at once where there is no bandwidth to keep to", async () => {
    for (const options of [{}, { compressed: level3() }]) {
      const pieces = await (await Played.make(options)).pieces();
      expect(pieces.length).toBe(1);
    }
  });

  test("what the bandwidth is by now", async () => {
    const played = await Played.make({ compressed: level3(), bandwidthBytesPerSec: 1024 * kibibyte });
    played.end.pace(32 * kibibyte);
    expect(Math.max(...(await played.pieces()))).toBe(32 * kibibyte);
  });
});
