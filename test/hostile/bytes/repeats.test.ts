/** Sources that are trusted and send as repeats what the VM does not have, or what is not theirs. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import type { Repeat } from "../../../src/transfer/chunks/shortened-body.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { chunkOfRepeats, fullBody, RepeatingSource } from "../../support/hostile/repeating-source.ts";

const { pageBytes } = limits;
const bytes = 4 * pageBytes + 100;
/** Where the pages begin in a body of one run. */
const pagesAt = 6;

/** What a disk may hold; of its own, and of somebody else. */
const content = randomBytes(bytes);
const secret = randomBytes(bytes);
const body = fullBody(content);

/** The second page, from the same place of the other disk. */
const second: Repeat = { at: pagesAt + pageBytes, bytes: pageBytes, file: 0, from: pageBytes };
/** All of it. */
const whole: Repeat = { at: pagesAt, bytes, file: 0, from: 0 };

let ground: HostileGround;
let source: RawIdentity;

testsAttackDestination({ index: false, workers: 1 }, async (made) => {
  ground = made;
  source = await ground.trustedSource();
});

const begin = () => RepeatingSource.begin(ground, source, bytes);
const wantOfSecondDisk = "want 1 0 0";
const ackOfSecondDisk = "ack 1 0";

describe("a chunk with a repeat that makes no sense ends the lane, and nothing is written", () => {
  // [COPY-1]
  test.each<[string, readonly Repeat[], string]>([
    ["none at all", [], "is shortened by nothing"],
    ["less than a page", [{ ...second, bytes: pageBytes - 1 }], "has a copy of less than a page"],
    ["in its runs", [{ ...second, at: 2 }], "has copies that are out of order or in its runs"],
    ["twice", [second, second], "has copies that are out of order or in its runs"],
    ["behind its end", [{ ...second, at: body.length - 1 }], "has copies that lie outside of it"],
    ["of a file that the VM does not have", [{ ...second, file: 2 }], "copies what the VM does not have"],
    [
      "from behind the end of a file",
      [{ ...second, from: bytes - pageBytes + 1 }],
      "copies what the VM does not have",
    ],
    ["from as far as can be said", [{ ...second, from: 2 ** 63 }], "copies what the VM does not have"],
  ])("%s", async (_which, repeats, what) => {
    const begun = await begin();
    // What is said of the repeats is wrong, not how much is left of the body.
    const frame = chunkOfRepeats(begun.vm, 1, body, []);
    const head = Buffer.alloc(2 + repeats.length * 20);
    head.writeUInt16BE(repeats.length, 0);
    for (const [i, repeat] of repeats.entries()) {
      head.writeUInt32BE(repeat.at, 2 + i * 20);
      head.writeUInt32BE(repeat.bytes, 6 + i * 20);
      head.writeUInt32BE(repeat.file, 10 + i * 20);
      head.writeBigUInt64BE(BigInt(repeat.from), 14 + i * 20);
    }
    const rest = body.subarray(0, body.length - repeats.length * pageBytes);
    const tag = frame.subarray(limits.frameHeaderBytes + 12, limits.frameHeaderBytes + 12 + limits.tagBytes);
    begun.lane.sendBytes(begun.vm.rawChunk(Buffer.concat([head, rest]), { file: 1, tag, encoding: 2 }));
    expect(await begun.lane.error()).toEqual({ code: "protocol", message: `a chunk ${what}` });
    await begun.lane.ended();
    expect([begun.isUntouched(0), begun.isUntouched(1)]).toEqual([true, true]);
  });
});

describe("a chunk with a repeat", () => {
  /** A session whose first disk has come. */
  async function withFirstDisk(disk: Buffer = content): Promise<RepeatingSource> {
    const begun = await begin();
    expect(await begun.answer(begun.vm.chunk(disk))).toBe("ack 0 0");
    return begun;
  }

  // [COPY-2]
  test.each([false, true])("of what was received is written (compressed: %p)", async (compressed) => {
    const begun = await withFirstDisk();
    const frame = chunkOfRepeats(begun.vm, 1, body, [second], { compressed });
    await begun.acknowledged(frame);
    expect(begun.disk(1).equals(content)).toBe(true);
  });

  // [COPY-4]
  test("of what came right before it on its lane, and is not acknowledged yet, is written", async () => {
    const begun = await begin();
    let written = 0;
    for (let round = 0; round < 10; round++) {
      const disk = [content, secret][round % 2]!;
      const repeat = chunkOfRepeats(begun.vm, 1, fullBody(disk), [whole]);
      begun.lane.sendBytes(Buffer.concat([begun.vm.chunk(disk), repeat]));
      let wanted = 0;
      for (let left = 2; left > 0; ) {
        const { name, payload } = await begun.lane.next();
        left -= payload.length / (name === "want" ? 10 : 8);
        if (name === "want") wanted++;
      }
      expect(begun.disk(0).equals(disk)).toBe(true);
      if (wanted > 0) continue;
      written++;
      expect(begun.disk(1).equals(disk)).toBe(true);
    }
    // A host that is busy may have one or the other sent as it is.
    expect(written).toBeGreaterThan(0);
  });

  // [COPY-4]
  test("of what was acknowledged on another lane is written", async () => {
    const begun = await begin();
    const other = await begun.openLane();
    for (const disk of [content, secret, content]) {
      expect(await begun.answer(begun.vm.chunk(disk))).toBe("ack 0 0");
      await begun.acknowledged(chunkOfRepeats(begun.vm, 1, fullBody(disk), [whole]), other);
      expect(begun.disk(1).equals(disk)).toBe(true);
    }
  });

  // [COPY-2] [CHUNK-5]
  test.each<[string, Buffer | null, (begun: RepeatingSource) => Buffer]>([
    ["of what did not come yet", null, ({ vm }) => chunkOfRepeats(vm, 1, body, [second])],
    ["of what says something else", secret, ({ vm }) => chunkOfRepeats(vm, 1, body, [second])],
    [
      "from a byte beside",
      content,
      ({ vm }) => chunkOfRepeats(vm, 1, body, [{ ...second, from: pageBytes + 1 }]),
    ],
    [
      "of which the last is wrong",
      content,
      ({ vm }) => chunkOfRepeats(vm, 1, body, [second, { ...second, at: second.at + pageBytes }]),
    ],
    ["of itself", content, ({ vm }) => chunkOfRepeats(vm, 1, body, [{ ...whole, file: 1 }])],
    [
      "and a tag at random",
      content,
      ({ vm }) => chunkOfRepeats(vm, 1, body, [second], { tag: randomBytes(16) }),
    ],
    [
      "and the tag of nothing",
      content,
      ({ vm }) => chunkOfRepeats(vm, 1, body, [second], { tag: Buffer.alloc(16) }),
    ],
    [
      "compressed and of something else",
      secret,
      ({ vm }) => chunkOfRepeats(vm, 1, body, [second], { compressed: true }),
    ],
  ])("%s is wanted as it is, and taken then", async (_which, first, frame) => {
    const begun = first === null ? await begin() : await withFirstDisk(first);
    for (let times = 0; times < 3; times++) {
      expect(await begun.answer(frame(begun))).toBe(wantOfSecondDisk);
      expect(begun.isUntouched(1)).toBe(true);
    }
    expect(await begun.answer(begun.vm.chunk(content, 1))).toBe(ackOfSecondDisk);
    expect(begun.disk(1).equals(content)).toBe(true);
    if (first !== null) expect(begun.disk(0).equals(first)).toBe(true);
  });

  // [COPY-2]
  test("of what has become something else since is wanted, and what stood there before stays", async () => {
    const begun = await withFirstDisk();
    const frame = chunkOfRepeats(begun.vm, 1, body, [second]);
    await begun.acknowledged(frame);
    expect(await begun.answer(begun.vm.chunk(secret))).toBe("ack 0 0");
    expect(await begun.answer(frame)).toBe(wantOfSecondDisk);
    expect(begun.disk(1).equals(content)).toBe(true);
  });
});

describe("a source that knows a file which is not of its VM, and says that it has a copy of it,", () => {
  const secretBody = fullBody(secret);

  /** The second disk as a repeat of the first one, which is said to hold the secret, with the tag for it. */
  async function expectNoCopy(begun: RepeatingSource): Promise<void> {
    const repeats = [whole, { ...whole, bytes: pageBytes }];
    for (const repeat of repeats) {
      expect(await begun.answer(chunkOfRepeats(begun.vm, 1, secretBody, [repeat]))).toBe(wantOfSecondDisk);
      expect(begun.isUntouched(1)).toBe(true);
    }
  }

  // [COPY-2]
  test("gets none of another session's, whose disk has the same name and place", async () => {
    const other = await begin();
    expect(await other.answer(other.vm.chunk(secret))).toBe("ack 0 0");
    await expectNoCopy(await begin());
    expect(other.disk(0).equals(secret)).toBe(true);
  });

  // [COPY-2]
  test("gets none of a VM in the store, nor of one with its own name", async () => {
    const begun = await begin();
    for (const name of ["golden", begun.vm.name]) {
      mkdirSync(join(ground.store, name), { mode: 0o700 });
      for (const disk of ["a", "b"]) writeFileSync(join(ground.store, name, disk), secret);
    }
    await expectNoCopy(begun);
  });

  // [COPY-2]
  test("gets none of what somebody put in its disk's place by a link", async () => {
    const begun = await begin();
    const outside = join(ground.root, "outside", "secret");
    writeFileSync(outside, secret);
    rmSync(begun.staged[0]!);
    symlinkSync(outside, begun.staged[0]!);
    // What cannot be read is not what another session's chunk left behind, either.
    const other = await begin();
    await other.answer(other.vm.chunk(secret));
    await other.acknowledged(chunkOfRepeats(other.vm, 1, secretBody, [whole]));
    await expectNoCopy(begun);
    // The disks that are there go on.
    expect(await begun.answer(begun.vm.chunk(content, 1))).toBe(ackOfSecondDisk);
    expect(readFileSync(outside).equals(secret)).toBe(true);
  });
});

test("what is said of repeats says nothing of the host, and the destination serves on", async () => {
  const begun = await begin();
  await ground.withstands(
    async () => {
      expect(await begun.answer(chunkOfRepeats(begun.vm, 1, body, [second]))).toBe(wantOfSecondDisk);
      begun.lane.sendBytes(
        begun.vm.rawChunk(Buffer.alloc(2), { file: 1, tag: randomBytes(16), encoding: 2 }),
      );
      expect((await begun.lane.error()).code).toBe("protocol");
    },
    { except: [`store/.migrate-${begun.session}`] },
  );
});
