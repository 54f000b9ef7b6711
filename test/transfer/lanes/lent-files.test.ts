/** The descriptors that lanes read through: whose they are, and until when. */
import { afterEach, describe, expect, test } from "bun:test";
import {
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
} from "node:fs";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { FrameDecoder } from "../../../src/protocol/frames.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { encodeMessage } from "../../../src/protocol/messages.ts";
import { encodeAck } from "../../../src/transfer/chunks/ack.ts";
import { type Chunk, parseChunk } from "../../../src/transfer/chunks/chunk.ts";
import { SourceTags } from "../../../src/transfer/chunks/source-tags.ts";
import { LanePool } from "../../../src/transfer/lanes/lane-pool.ts";
import { LentFiles } from "../../../src/transfer/lanes/lent-files.ts";
import { until } from "../../support/system/until.ts";
import { Folder } from "../sparse-file.ts";

const { chunkBytes, pageBytes } = limits;
const undone: (() => void)[] = [];
afterEach(() => {
  for (const undo of undone.splice(0).reverse()) undo();
});

function newFolder(): Folder {
  const folder = new Folder();
  undone.push(() => folder.remove());
  return folder;
}

/** Descriptors of this process that refer to a file, whatever it is called now. */
function descriptorsOf(path: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(path);
    } catch {
      return false;
    }
  }).length;
}

const firstByte = (fd: number) => {
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, 0);
  return byte[0];
};

describe("lent files", () => {
  test("are those that were open, whatever lies under their names now, and outlive the originals", () => {
    const folder = newFolder();
    const path = folder.file("disk", 1, [{ at: 0, data: Buffer.of(7) }]);
    const fd = openSync(path, "r");
    renameSync(folder.file("other", 1, [{ at: 0, data: Buffer.of(8) }]), path);
    const lent = LentFiles.open([fd]);
    closeSync(fd);
    useAgain(fd, path);
    expect(firstByte(lent.fds[0]!)).toBe(7);
    lent.end();
    expect(() => fstatSync(lent.fds[0]!)).toThrow();
  });

  test("are closed once they are over and the last lane has given them back, and once", () => {
    const folder = newFolder();
    const path = folder.file("disk", 1);
    const fd = folder.open(path);
    const lent = LentFiles.open([fd, fd]);
    const [one, other] = [lent.lend(), lent.lend()];
    one();
    one();
    lent.end();
    expect(descriptorsOf(path)).toBe(3);
    other();
    expect(descriptorsOf(path)).toBe(1);
    const next = openSync(path, "r");
    other();
    expect(descriptorsOf(path)).toBe(2);
    closeSync(next);
  });

  test("leave nothing open where one cannot be opened", () => {
    const folder = newFolder();
    const path = folder.file("disk", 1);
    const fd = folder.open(path);
    expect(() => LentFiles.open([fd, fd, 1_000_000])).toThrow("ENOENT");
    expect(descriptorsOf(path)).toBe(1);
  });
});

/**
 * Opens the file until the number of a closed descriptor belongs to another one: to this file, or to what another
 * thread has opened meanwhile. The kernel gives the lowest number that is free (open(2)).
 */
function useAgain(closed: number, path: string): void {
  let fd: number;
  do {
    const other = openSync(path, "r");
    undone.push(() => closeSync(other));
    fd = other;
  } while (fd < closed);
}

interface Destination {
  chunks: Chunk[];
  port: number;
}

/** A destination that takes every chunk and keeps it; it holds its answer back until `answers` resolves. */
function destination(bytes: number, answers: Promise<void> = Promise.resolve()): Destination {
  const chunks: Chunk[] = [];
  const server = Bun.listen<FrameDecoder>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(socket) {
        socket.data = new FrameDecoder("stranger", (name, payload) => {
          if (name === "hello") {
            socket.data.standing = "lane-destination";
            socket.write(
              encodeMessage("welcome", { version: limits.version, software: "test", trusted: true }),
            );
          } else if (name === "chunk") {
            const chunk = parseChunk(Buffer.from(payload), [bytes]);
            chunks.push(chunk);
            void answers.then(() => socket.write(encodeAck([chunk])));
          }
        });
      },
      data: (socket, data) => socket.data.push(data),
      error: () => {},
    },
  });
  undone.push(() => server.stop(true));
  return { chunks, port: server.port };
}

function poolFor(path: string, fd: number, bytes: number, port: number, lanes: number): LanePool {
  return new LanePool({
    callee: { address: { host: "127.0.0.1", port }, tls: null },
    session: "ab".repeat(16),
    laneToken: "cd".repeat(16),
    tagKey: Buffer.alloc(16, 3),
    lanes,
    bandwidthBytesPerSec: null,
    compression: "off",
    indexKey: null,
    repeats: false,
    files: [{ path, fd, tags: new SourceTags(bytes), theirs: null }],
    progress: () => {},
    sent: () => {},
    moving: () => {},
    silenceMs: 20_000,
  });
}

/** A file of so many chunks, each with a page of its own number. */
function numbered(folder: Folder, chunks: number): string {
  const pieces = Array.from({ length: chunks }, (_, chunk) => ({
    at: chunk * chunkBytes,
    data: Buffer.alloc(pageBytes, chunk + 1),
  }));
  return folder.file("disk", chunks * chunkBytes, pieces);
}

describe("a pool of lanes", () => {
  test("sends the file that was open when it began, after its descriptor was closed and its number used again", async () => {
    const folder = newFolder();
    const count = 100;
    const path = numbered(folder, count);
    const there = destination(count * chunkBytes);
    const fd = openSync(path, "r");
    const run = poolFor(path, fd, count * chunkBytes, there.port, 2).run();
    closeSync(fd);
    useAgain(fd, folder.file("other", count * chunkBytes, [{ at: 0, data: Buffer.alloc(pageBytes, 255) }]));
    rmSync(path);
    await run;
    const seen = there.chunks.map(({ chunk, body, pagesAt }) => [chunk, body[pagesAt]]);
    expect(seen.sort(([a], [b]) => a! - b!)).toEqual(Array.from({ length: count }, (_, i) => [i, i + 1]));
    await until(() => descriptorsOf(path) === 0, "the descriptors to be closed");
  });

  test("closes the descriptors once every lane has ended, also where it was aborted", async () => {
    const folder = newFolder();
    const count = 64;
    const path = numbered(folder, count);
    const there = destination(count * chunkBytes, new Promise(() => {}));
    const fd = folder.open(path);
    const pool = poolFor(path, fd, count * chunkBytes, there.port, 3);
    const run = pool.run().then(
      () => "done",
      (thrown: MigrateError) => thrown.code,
    );
    await until(() => there.chunks.length > 4, "chunks under way");
    expect(descriptorsOf(path)).toBe(2);
    pool.abort(new MigrateError("interrupted", "enough"));
    expect(await run).toBe("interrupted");
    await until(() => descriptorsOf(path) === 1, "the descriptors to be closed");
  });
});
