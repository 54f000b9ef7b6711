/** A destination that wants, finds and offers what it should not: the source sends what is due, or stops. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { encodeWant } from "../../../src/transfer/reuse/store/describe.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import type { Script, Visit } from "../../support/hostile/hostile-destination.ts";
import { accept, HostileDestination, letIn, takeChunks } from "../../support/hostile/hostile-destination.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";
import { type SendingOptions, sendOnce } from "../../support/moves/sending.ts";

let source: TrickedSource;
let count = 0;

testsAttackSource((made) => {
  source = made;
});

const index = "5".repeat(32);

/** A destination that has an index, and then says nothing more on its control connection. */
const describing: Script = async (visit) => {
  await letIn(visit);
  accept(visit.peer, { index });
  await visit.peer.closed;
};

/** A lane that answers the first description by this. */
const lane = (answer: (visit: Visit, described: Buffer) => void | Promise<void>) => ({
  lane: async (visit: Visit) => {
    visit.peer.send("welcome", { version: limits.version, software: "hostile", trusted: true });
    for (;;) {
      const { name, payload } = await visit.peer.next();
      if (name === "describe") return answer(visit, payload);
      visit.peer.sendFrame("ack", payload.subarray(0, 8));
    }
  },
});

/** WANT of the chunk that was described, with these blocks found. */
function want(described: Buffer, found: number): Buffer {
  return encodeWant([{ file: described.readUInt32BE(0), chunk: described.readUInt32BE(4), found }]);
}

describe("a WANT", () => {
  const notDescribed = "a chunk was wanted that was not described";
  // [FIND-5]
  test.each<[string, (visit: Visit, described: Buffer) => void, string | RegExp]>([
    [
      "for a chunk that the VM does not have",
      ({ peer }) => void peer.sendBytes(encodeWant([{ file: 7, chunk: 7, found: 0 }])),
      notDescribed,
    ],
    [
      "over and over for one chunk",
      ({ peer }, described) =>
        void peer.sendBytes(Buffer.concat(Array.from({ length: 20_000 }, () => want(described, 0)))),
      notDescribed,
    ],
    [
      "with one chunk in it as often as may be",
      ({ peer }, described) => {
        const [file, chunk] = [described.readUInt32BE(0), described.readUInt32BE(4)];
        const each = { file, chunk, found: 1 };
        peer.sendBytes(encodeWant(Array.from({ length: limits.describedChunks }, () => each)));
      },
      notDescribed,
    ],
    [
      "that is cut in the middle",
      ({ peer }) => void peer.sendFrame("want", Buffer.alloc(9)),
      "a want frame is cut short",
    ],
    ["of nothing", ({ peer }) => void peer.sendFrame("want"), "a want frame is cut short"],
    [
      "longer than any",
      ({ peer }) => void peer.sendFrame("want", Buffer.alloc(4100)),
      /^a want frame of \d+ bytes exceeds the limit/,
    ],
    [
      "behind the ACK of the same chunk",
      ({ peer }, described) => {
        peer.sendFrame("ack", described.subarray(0, 8));
        peer.sendBytes(want(described, 0));
      },
      notDescribed,
    ],
  ])("%s ends the send, and the VM stays", (_what, answer, message) =>
    source.expectOwner(describing, "protocol", message, lane(answer)),
  );

  // [FIND-5]
  test("with everything found, and found again once it is sent, ends the send, and the VM stays", () =>
    source.expectOwner(
      describing,
      "protocol",
      notDescribed,
      lane(async ({ peer }, described) => {
        const all = 2 ** ((described.length - 24) / limits.blockHashBytes) - 1;
        peer.sendBytes(want(described, all));
        for (let sent = ""; sent !== "chunk"; ) sent = (await peer.next()).name ?? "";
        peer.sendBytes(want(described, all));
      }),
    ));
});

/** Names and encodings of what a source says on its lanes, to a destination that accepts like this. */
async function saidTo(
  change: Partial<MessageBody<"accept">>,
  { secure, ...options }: Partial<SendingOptions> & { secure: boolean },
): Promise<{ described: number; encodings: number[] }> {
  const lanes: Visit[] = [];
  const destination = await HostileDestination.open({
    identity: secure ? source.identity : null,
    control: async (visit) => {
      await letIn(visit);
      accept(visit.peer, change);
      await visit.peer.expect("seal");
      visit.peer.send("error", { code: "policy", message: "that was all" });
    },
    lane: (visit) => {
      lanes.push(visit);
      return takeChunks(visit);
    },
  });
  const folder = join(source.root, `said-${++count}`);
  try {
    const { error } = await sendOnce({
      home: join(folder, "home"),
      vm: makeSmallVm(join(folder, "vm"), { content: "compressible" }).spec,
      address: destination.address,
      ticket: destination.ticket,
      retryForMs: 700,
      lanes: 1,
      ...options,
    });
    expect(error?.message).toBe("that was all");
  } finally {
    await destination.close();
  }
  // All were acknowledged before the source sealed: they are here, whether its lanes have closed or not.
  const frames = lanes.flatMap(({ peer }) => peer.frames);
  return {
    described: frames.filter(({ name }) => name === "describe").length,
    encodings: frames
      .filter(({ name }) => name === "chunk")
      .map(({ payload }) => payload.readUInt8(12 + limits.tagBytes)),
  };
}

// [FIND-7]
test("an index that is offered on an insecure link is not asked", async () => {
  const { described, encodings } = await saidTo({ index, base: true }, { secure: false, base: "golden" });
  expect(described).toBe(0);
  expect(encodings.length).toBe(8);
});

// [ZSTD-1]
test.each([
  ["that does not say it takes them", {}, false],
  ["that says it does not take them", { zstd: false }, false],
  ["that takes them", { zstd: true }, true],
] as const)("a destination %s gets compressed chunks only if it does", async (_which, change, takes) => {
  const { encodings } = await saidTo(change, { secure: true, compression: 19 });
  expect(encodings.length).toBe(8);
  expect(encodings.includes(1)).toBe(takes);
});
