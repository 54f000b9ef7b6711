import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, truncateSync, writeSync } from "node:fs";
import type { FrameSocket } from "../../../src/channel/frame-socket.ts";
import { ReceivedFiles } from "../../../src/migration/destination/received-files.ts";
import { frameTypes } from "../../../src/protocol/frames.ts";
import { chunkCount, limits } from "../../../src/protocol/limits.ts";
import { parseAck } from "../../../src/transfer/chunks/ack.ts";
import { parseInventory } from "../../../src/transfer/chunks/inventory.ts";
import { TagTable, vmDigest } from "../../../src/transfer/chunks/tag-table.ts";
import type { FromReceivingLane } from "../../../src/transfer/lanes/lane-messages.ts";
import { LaneReceiver } from "../../../src/transfer/lanes/lane-receiver.ts";
import { seeded } from "../../support/system/random.ts";
import { slowBody, slowFrame, slowTag } from "../../transfer/slow-chunk.ts";
import { Folder } from "../../transfer/sparse-file.ts";

const { chunkBytes, pageBytes, frameHeaderBytes } = limits;
const key = Buffer.alloc(16, 3);
const files = [
  { kind: "disk" as const, name: "disk", bytes: 2 * chunkBytes + 5000 },
  { kind: "ram" as const, name: "ram", bytes: 6000 },
];

let store: Folder;
let received: ReceivedFiles;
let lanes: LaneReceiver[];
let acks: Buffer[];
beforeEach(() => {
  [lanes, acks] = [[], []];
  store = new Folder();
  received = new ReceivedFiles(store.path, "ab".repeat(16), files, key);
  received.prepare();
});
afterEach(() => {
  for (const lane of lanes) lane.close();
  store.remove();
});

/** A lane whose connection only records what was sent on it. */
function newLane(): LaneReceiver {
  const link = { bytesReceived: 0, send: (frame: Buffer) => void acks.push(frame) } as unknown as FrameSocket;
  const post = (message: FromReceivingLane) => {
    if (message.kind === "chunks") received.wrote(message.places, message.tags, () => {});
  };
  const lane = new LaneReceiver(received.grant("ab".repeat(16)), link, post, () => {});
  lanes.push(lane);
  return lane;
}

function chunkOf(file: number, chunk: number, data: Buffer): Buffer {
  const body = slowBody(data);
  return slowFrame(file, chunk, slowTag(key, file, chunk, body), body).subarray(frameHeaderBytes);
}

/** The digests that a source with this content would send. */
function digestsOf(contents: Buffer[]): { digest: string; each: string[] } {
  const each = contents.map((content, file) => {
    const table = new TagTable(content.length);
    for (let chunk = 0; chunk < table.chunks; chunk++) {
      const body = slowBody(content.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes));
      table.set(chunk, slowTag(key, file, chunk, body));
    }
    return table.digest();
  });
  return {
    digest: vmDigest(
      "web1",
      files.map(({ kind, name }, i) => ({ kind, name, digest: each[i]! })),
    ),
    each,
  };
}

const contentOf = (file: number) => readFileSync(received.staging.paths[file]!);
const settled = () => new Promise<void>((done) => setImmediate(done));

/** A chunk's data: some pages with data, the others zero. */
const pages = (length: number, ...numbers: number[]) => {
  const data = Buffer.alloc(length);
  for (const number of numbers)
    data.subarray(number * pageBytes, (number + 1) * pageBytes).fill((number % 250) + 1);
  return data;
};

describe("a lane of the destination", () => {
  // [CHUNK-7] [ACK-1]
  test("writes chunks where they belong, in any order and twice, and acknowledges each", async () => {
    await received.takeStock();
    const [one, two] = [newLane(), newLane()];
    const last = pages(5000, 1);
    one.frame("chunk", chunkOf(0, 2, last));
    two.frame("chunk", chunkOf(0, 0, pages(chunkBytes, 0, 200)));
    one.frame("chunk", chunkOf(1, 0, pages(6000, 0, 1)));
    two.frame("chunk", chunkOf(0, 2, last));
    await settled();
    const whole = Buffer.concat([pages(chunkBytes, 0, 200), Buffer.alloc(chunkBytes), last]);
    expect(contentOf(0).equals(whole)).toBe(true);
    expect(contentOf(1).equals(pages(6000, 0, 1))).toBe(true);
    const named = acks.flatMap((frame) => {
      expect(frame.readUInt8(4)).toBe(frameTypes.ack);
      return parseAck(frame.subarray(frameHeaderBytes)).map(({ file, chunk }) => `${file}:${chunk}`);
    });
    expect(named.sort()).toEqual(["0:0", "0:2", "0:2", "1:0"]);
  });

  // [CHUNK-5]
  test("writes and acknowledges nothing of a chunk whose tag is wrong", async () => {
    await received.takeStock();
    const lane = newLane();
    const payload = chunkOf(0, 0, pages(chunkBytes, 3));
    payload[payload.length - 1]! ^= 1;
    expect(() => lane.frame("chunk", payload)).toThrow(expect.objectContaining({ code: "integrity" }));
    await settled();
    expect(contentOf(0).equals(Buffer.alloc(files[0]!.bytes))).toBe(true);
    expect(acks).toEqual([]);
  });

  // [CHUNK-6]
  test("writes what comes again once the VM has stopped over what came before, zeros too, and believes it", async () => {
    await received.takeStock();
    const before = newLane();
    before.frame("chunk", chunkOf(0, 0, pages(chunkBytes, 0, 7, 200)));
    before.frame("chunk", chunkOf(1, 0, pages(6000, 0, 1)));
    await settled();
    received.comeAgain();
    const after = newLane();
    const changed = pages(chunkBytes, 0, 8);
    after.frame("chunk", chunkOf(0, 0, changed));
    await settled();
    const disk = Buffer.concat([changed, Buffer.alloc(chunkBytes + 5000)]);
    expect(contentOf(0).equals(disk)).toBe(true);
    // The received tags are compared: to read everything again would add to the downtime.
    writeSync(store.open(received.staging.paths[1]!), Buffer.of(0xee), 0, 1, 77);
    const { digest, each } = digestsOf([disk, pages(6000, 0, 1)]);
    await received.seal("web1", digest, each);
  });

  // [CHUNK-6]
  test("leaves nothing of an earlier link's chunk where the new one has zeros", async () => {
    const random = seeded("chunks over chunks");
    await received.takeStock();
    for (let link = 0; link < 12; link++) {
      const lane = newLane();
      const length = link % 2 === 0 ? chunkBytes : 5000;
      const numbers = Array.from({ length: random.below(6) }, () =>
        random.below(Math.ceil(length / pageBytes)),
      );
      const data = pages(length, ...numbers);
      lane.frame("chunk", chunkOf(0, link % 2 === 0 ? 1 : 2, data));
      await settled();
      const at = link % 2 === 0 ? chunkBytes : 2 * chunkBytes;
      expect(
        contentOf(0)
          .subarray(at, at + length)
          .equals(data),
      ).toBe(true);
      received.rest();
      expect(await received.takeStock()).toBe(true);
    }
    expect(contentOf(0).length).toBe(files[0]!.bytes);
  });

  // [ACK-1]
  test("names no more chunks in one ACK than it may, however many came in one read", async () => {
    await received.takeStock();
    const lane = newLane();
    const zeros = chunkOf(0, 1, Buffer.alloc(chunkBytes));
    for (let i = 0; i < 2 * limits.ackChunks + 5; i++) lane.frame("chunk", zeros);
    await settled();
    expect(acks.map((frame) => parseAck(frame.subarray(frameHeaderBytes)).length)).toEqual([
      limits.ackChunks,
      limits.ackChunks,
      5,
    ]);
  });
});

describe("what a session has received", () => {
  const seal = (contents: Buffer[]) => {
    const { digest, each } = digestsOf(contents);
    return received.seal("web1", digest, each);
  };
  const content = [
    Buffer.concat([pages(chunkBytes, 5), Buffer.alloc(chunkBytes), pages(5000, 0)]),
    pages(6000, 1),
  ];
  const receive = async () => {
    const lane = newLane();
    for (const [file, data] of content.entries()) {
      for (let chunk = 0; chunk < chunkCount(data.length); chunk++) {
        lane.frame(
          "chunk",
          chunkOf(file, chunk, data.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes)),
        );
      }
    }
    await settled();
  };

  // [DIGEST-3]
  test("is sealed where it is what the source sent, and only then", async () => {
    expect(await received.takeStock()).toBe(false);
    await receive();
    await seal(content);
    const other = [Buffer.from(content[0]!), content[1]!];
    other[0]!.writeUInt8(1, 7);
    await expect(seal(other)).rejects.toThrow(expect.objectContaining({ code: "integrity" }));
    const { digest, each } = digestsOf(content);
    for (const list of [each.slice(0, 1), [...each, each[0]!], each.toReversed()]) {
      await expect(received.seal("web1", digest, list)).rejects.toThrow(
        expect.objectContaining({ code: "integrity" }),
      );
    }
    await expect(received.seal("web2", digest, each)).rejects.toThrow("the VM's digest");
  });

  test("is not sealed where a file is longer than it was offered, whatever its chunks say", async () => {
    await received.takeStock();
    await receive();
    truncateSync(received.staging.paths[0]!, files[0]!.bytes + 1);
    await expect(seal(content)).rejects.toThrow(expect.objectContaining({ code: "store-failed" }));
  });

  // [DIGEST-4]
  test.each(["auto", "disk"] as const)(
    "is read back (%s), and is not sealed where something wrote there",
    async (verify) => {
      await received.takeStock();
      await receive();
      const { digest, each } = digestsOf(content);
      const at = store.open(received.staging.paths[1]!);
      writeSync(at, Buffer.of(content[1]!.readUInt8(77) ^ 1), 0, 1, 77);
      await expect(received.seal("web1", digest, each, { verify })).rejects.toThrow(
        expect.objectContaining({ code: "integrity" }),
      );
      // What is there counts from then on: it shows which chunk is to be sent again.
      expect(await received.takeStock()).toBe(true);
      await expect(received.seal("web1", digest, each)).rejects.toThrow("differs");
      writeSync(at, content[1]!.subarray(77, 78), 0, 1, 77);
      received.forget();
      const from = verify === "disk" ? "disk" : "memory";
      expect(await received.seal("web1", digest, each, { verify })).toBe(from);
      expect(await received.seal("web1", digest, each, { verify })).toBe(from);
    },
  );

  test("is not read back where that is not asked for", async () => {
    await received.takeStock();
    await receive();
    const { digest, each } = digestsOf(content);
    writeSync(store.open(received.staging.paths[1]!), Buffer.of(0xee), 0, 1, 77);
    expect(await received.seal("web1", digest, each)).toBe("none");
  });

  // [INV-2]
  test("is told as it lies on the disk, by another process too, and after somebody changed it", async () => {
    await received.takeStock();
    await receive();
    const again = new ReceivedFiles(store.path, "ab".repeat(16), files, key);
    expect(await again.takeStock()).toBe(true);
    const tagsOf = (from: ReceivedFiles) => {
      const chunks = files.map(({ bytes }) => chunkCount(bytes));
      const tables = files.map(({ bytes }) => new TagTable(bytes));
      for (const frame of from.inventory()) {
        const { file, firstChunk, tags } = parseInventory(frame.subarray(frameHeaderBytes), chunks);
        for (const [i, tag] of tags.entries()) tables[file]!.set(firstChunk + i, tag);
      }
      return tables.map((table) => table.digest());
    };
    expect(tagsOf(again)).toEqual(digestsOf(content).each);
    received.rest();
    writeSync(store.open(received.staging.paths[1]!), Buffer.of(0xee), 0, 1, 77);
    expect(await received.takeStock()).toBe(true);
    expect(tagsOf(received)).not.toEqual(digestsOf(content).each);
  });

  test("is read again where one chunk came with two contents, at the seal and by the next link", async () => {
    await received.takeStock();
    await receive();
    // On the first link no holes are punched: a page of the first content remains under the second.
    const lane = newLane();
    lane.frame("chunk", chunkOf(0, 0, pages(chunkBytes, 7)));
    await settled();
    const said = [Buffer.concat([pages(chunkBytes, 7), content[0]!.subarray(chunkBytes)]), content[1]!];
    received.rest();
    expect(await received.takeStock()).toBe(true);
    await expect(seal(said)).rejects.toThrow(expect.objectContaining({ code: "integrity" }));
    const again = newLane();
    again.frame("chunk", chunkOf(0, 0, pages(chunkBytes, 7)));
    await settled();
    await seal(said);
    expect(contentOf(0).equals(said[0]!)).toBe(true);
  });
});
