/** A destination that wants chunks again which came as repeats: the source sends what is due, or stops. */
import { describe, expect, test } from "bun:test";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { encodeAck } from "../../../src/transfer/chunks/ack.ts";
import { encodeWant } from "../../../src/transfer/reuse/store/describe.ts";
import { hashOf, makeSmallVm, overwrite, randomStream, type SmallVm } from "../../support/files/small-vm.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import { accept, letIn, type Script, type Visit } from "../../support/hostile/hostile-destination.ts";
import type { RawFrame } from "../../support/hostile/raw/peer.ts";
import type { TrickedSource, TrickOptions } from "../../support/hostile/tricked-source.ts";

const { chunkBytes, chunkHeaderBytes, pageBytes, tagBytes } = limits;
const notDescribed = "a chunk was wanted that was not described";
const index = "5".repeat(32);

let source: TrickedSource;
let count = 0;

testsAttackSource((made) => {
  source = made;
});

/** A VM of one disk with the same 64 pages in each of its whole chunks, and others beside them. */
function vmOfRepeats(chunks: number): SmallVm {
  const vm = makeSmallVm(join(source.root, `repeats-${++count}`), {
    ram: null,
    disks: [{ bytes: chunks * chunkBytes + 777, extents: [{ at: 0, bytes: chunks * chunkBytes + 777 }] }],
  });
  const pages = randomStream(100)(64 * pageBytes);
  const [disk] = vm.files;
  const fd = openSync(disk!.path, "r+");
  const placeIn = (chunk: number) => chunk * chunkBytes + ((chunk % 8) + 3) * pageBytes;
  for (let chunk = 1; chunk < chunks; chunk++) writeSync(fd, pages, 0, pages.length, placeIn(chunk));
  closeSync(fd);
  vm.files[0] = overwrite(disk!, placeIn(0), pages);
  return vm;
}

const encodingOf = ({ payload }: RawFrame) => payload.readUInt8(12 + tagBytes);
const hasCopies = (frame: RawFrame) => frame.name === "chunk" && encodingOf(frame) >= 2;
const placeOf = ({ payload }: RawFrame) => ({
  file: payload.readUInt32BE(0),
  chunk: payload.readUInt32BE(4),
});
const want = (frame: RawFrame, found = 0) => encodeWant([{ ...placeOf(frame), found }]);

/** A destination that accepts like this, and says why it goes no further once all was acknowledged. */
const upToSeal =
  (change: Partial<MessageBody<"accept">>): Script =>
  async (visit) => {
    await letIn(visit);
    accept(visit.peer, change);
    await visit.peer.expect("seal");
    visit.peer.send("error", { code: "policy", message: "that was all" });
  };

/** A lane that does with each frame what `take` says, and acknowledges it where that is not true. */
function lane(take: (visit: Visit, frame: RawFrame) => boolean | Promise<boolean>, seen: RawFrame[] = []) {
  return async (visit: Visit) => {
    visit.peer.send("welcome", { version: limits.version, software: "hostile", trusted: true });
    for (;;) {
      const frame = await visit.peer.next();
      if (frame.name !== "chunk" && frame.name !== "describe") continue;
      seen.push(frame);
      if (!(await take(visit, frame))) visit.peer.sendFrame("ack", frame.payload.subarray(0, 8));
    }
  };
}

/** Sends such a VM over one lane, where the end must be this error; the VM stays as it was. */
async function expectEnd(
  control: Script,
  code: string,
  message: string,
  options: TrickOptions,
  chunks = 6,
): Promise<void> {
  const vm = vmOfRepeats(chunks);
  await source.expectOwner(control, code, message, { vm: vm.spec, lanes: 1, compression: 3, ...options });
  for (const { path, hash } of vm.files) expect(hashOf(path)).toBe(hash);
}

// [COPY-1]
test.each<[string, Partial<MessageBody<"accept">>, TrickOptions, boolean]>([
  ["that does not say that it takes them", { zstd: true }, {}, false],
  ["that says that it does not", { zstd: true, copies: false }, {}, false],
  ["that takes them", { zstd: true, copies: true }, {}, true],
  [
    "that takes them, of a person who does not want it",
    { zstd: true, copies: true },
    { compression: "off" },
    false,
  ],
])("a destination %s gets copies only if it may", async (_which, change, options, takes) => {
  const seen: RawFrame[] = [];
  await expectEnd(upToSeal(change), "policy", "that was all", { ...options, lane: lane(() => false, seen) });
  expect(seen.length).toBe(7);
  // How many is a matter of time: where looking for them takes too long it is left.
  expect(seen.some(hasCopies)).toBe(takes);
  const bytes = seen.reduce((sum, { payload }) => sum + payload.length, 0);
  expect(bytes < 6 * chunkBytes).toBe(takes);
});

/** The chunks that a chunk's repeats lie in. */
function sourcesOf(frame: RawFrame): string[] {
  const rest = frame.payload.subarray(chunkHeaderBytes);
  const shortened = encodingOf(frame) === 3 ? Bun.zstdDecompressSync(rest) : rest;
  const sources: string[] = [];
  for (let i = 0; i < shortened.readUInt16BE(0); i++) {
    const [bytes, file] = [shortened.readUInt32BE(6 + i * 20), shortened.readUInt32BE(10 + i * 20)];
    const from = Number(shortened.readBigUInt64BE(14 + i * 20));
    for (const at of [from, from + bytes - 1]) sources.push(`${file} ${Math.floor(at / chunkBytes)}`);
  }
  return sources;
}

// [COPY-4]
test("a lane refers to what was acknowledged on any, and to what it sent itself, and to nothing else", async () => {
  const chunks = 48;
  const acknowledged = new Set<string>();
  const lanes: { peer: Visit["peer"]; waiting: string[] }[] = [];
  let [ofItsOwn, ofOthers, wrong] = [0, 0, 0];
  /** As late as can be, and not before both have sent something: until then neither must know of the other's. */
  const acknowledge = () => {
    if (lanes.length < 2 || lanes.some(({ waiting }) => acknowledged.size === 0 && waiting.length === 0))
      return;
    for (const { peer, waiting } of lanes) {
      if (waiting.length < 15 && chunks - acknowledged.size > 2 * 15) continue;
      for (const place of waiting.splice(0)) {
        acknowledged.add(place);
        peer.sendBytes(encodeAck([{ file: 0, chunk: Number(place.split(" ")[1]) }]));
      }
    }
  };
  const taking = async ({ peer }: Visit) => {
    peer.send("welcome", { version: limits.version, software: "hostile", trusted: true });
    const sent = new Set<string>();
    const waiting: string[] = [];
    lanes.push({ peer, waiting });
    for (;;) {
      const frame = await peer.next();
      if (frame.name !== "chunk") continue;
      for (const place of hasCopies(frame) ? sourcesOf(frame) : []) {
        if (sent.has(place)) ofItsOwn++;
        else if (acknowledged.has(place)) ofOthers++;
        else wrong++;
      }
      const place = Object.values(placeOf(frame)).join(" ");
      sent.add(place);
      waiting.push(place);
      acknowledge();
    }
  };
  const options = { lanes: 2, lane: taking };
  await expectEnd(upToSeal({ zstd: true, copies: true }), "policy", "that was all", options, chunks - 1);
  expect(wrong).toBe(0);
  expect(ofItsOwn + ofOthers).toBeGreaterThan(0);
}, 30_000);

// [ZSTD-1]
test("a destination that takes copies and nothing compressed gets nothing that is", async () => {
  const seen: RawFrame[] = [];
  const taking = lane(() => false, seen);
  await expectEnd(upToSeal({ copies: true }), "policy", "that was all", { lane: taking });
  expect(seen.filter((frame) => (encodingOf(frame) & 1) !== 0)).toEqual([]);
});

describe("a chunk that came as repeats", () => {
  /** Wants each of them. */
  const wantsRepeats = ({ peer }: Visit, frame: RawFrame) => {
    if (hasCopies(frame)) peer.sendBytes(want(frame));
    return hasCopies(frame);
  };

  // [COPY-3]
  test("and is wanted is sent as it is, each of them, and all the others go on", async () => {
    const seen: RawFrame[] = [];
    const wanting = lane(wantsRepeats, seen);
    await expectEnd(upToSeal({ zstd: true, copies: true }), "policy", "that was all", { lane: wanting });
    const refused = seen.filter(hasCopies);
    expect(refused.length).toBeGreaterThan(0);
    for (const frame of refused) {
      const same = seen.filter((other) => Bun.deepEquals(placeOf(other), placeOf(frame)));
      expect(same.length).toBe(2);
      expect(same[0]).toBe(frame);
      expect([0, 1]).toContain(encodingOf(same[1]!));
    }
    // Nothing that was not written is copied: after it was refused a chunk is there again once it came as it is.
    expect(seen.length).toBe(7 + refused.length);
  });

  test("and is wanted every time is so no more after a while", async () => {
    const seen: RawFrame[] = [];
    const wanting = lane(wantsRepeats, seen);
    await expectEnd(upToSeal({ zstd: true, copies: true }), "policy", "that was all", { lane: wanting }, 48);
    const refused = seen.filter(hasCopies).length;
    expect(seen.length).toBe(49 + refused);
    // Those that were under way when it heard of the first ones, and not many more.
    expect(refused).toBeGreaterThan(0);
    expect(refused).toBeLessThan(32);
  }, 30_000);

  // [COPY-3] [FIND-5]
  test.each<[string, (visit: Visit, frame: RawFrame, isAgain: boolean) => void]>([
    ["again once it came as it is", ({ peer }, frame) => void peer.sendBytes(want(frame))],
    [
      "twice at once",
      ({ peer }, frame) =>
        void peer.sendBytes(encodeWant([0, 0].map((found) => ({ ...placeOf(frame), found })))),
    ],
    ["but for a block that was found", ({ peer }, frame) => void peer.sendBytes(want(frame, 1))],
    ["but for all of its blocks", ({ peer }, frame) => void peer.sendBytes(want(frame, 0xffff))],
    [
      "as it is, and then but for a block",
      ({ peer }, frame, isAgain) => void peer.sendBytes(want(frame, isAgain ? 2 : 0)),
    ],
    [
      "after it was acknowledged",
      ({ peer }, frame) => {
        peer.sendFrame("ack", frame.payload.subarray(0, 8));
        peer.sendBytes(want(frame));
      },
    ],
  ])("and is wanted %s ends the send, and the VM stays", async (_which, answer) => {
    let refused: RawFrame | undefined;
    const wanting = lane((visit, frame) => {
      const isAgain = refused !== undefined && Bun.deepEquals(placeOf(frame), placeOf(refused));
      if (refused === undefined && hasCopies(frame)) refused = frame;
      else if (!isAgain) return false;
      answer(visit, frame, isAgain);
      return true;
    });
    await expectEnd(upToSeal({ zstd: true, copies: true }), "protocol", notDescribed, { lane: wanting });
    expect(refused).toBeDefined();
  });
});

// [COPY-3] [FIND-5]
test.each([0, 1])(
  "a chunk that came whole and is wanted (%p found) ends the send, and the VM stays",
  async (found) => {
    const wanting = lane(({ peer }, frame) => {
      peer.sendBytes(want(frame, found));
      return true;
    });
    const first = { zstd: true, copies: true };
    await expectEnd(upToSeal(first), "protocol", notDescribed, { lane: wanting });
  },
);

// [COPY-3] [FIND-4]
test("a chunk that was described, not found, and came as repeats may be wanted once more, and no third time", async () => {
  for (const times of [1, 2]) {
    const seen: RawFrame[] = [];
    let refused: RawFrame | undefined;
    let wanted = 0;
    const wanting = lane(({ peer }, frame) => {
      if (frame.name === "describe") peer.sendBytes(want(frame));
      else if (refused === undefined && hasCopies(frame)) refused = frame;
      if (frame.name === "describe") return true;
      if (refused === undefined || !Bun.deepEquals(placeOf(frame), placeOf(refused)) || wanted === times)
        return false;
      wanted++;
      peer.sendBytes(want(frame));
      return true;
    }, seen);
    const [code, message] = times === 1 ? ["policy", "that was all"] : ["protocol", notDescribed];
    await expectEnd(upToSeal({ zstd: true, copies: true, index }), code!, message!, { lane: wanting });
    expect(wanted).toBe(times);
    const same = seen.filter((each) => Bun.deepEquals(placeOf(each), placeOf(refused!)));
    expect(same.map(({ name }) => name)).toEqual(["describe", "chunk", "chunk"]);
    expect(hasCopies(same[2]!)).toBe(false);
  }
});
