/** A destination whose quote is good and whose logs lie: what a log does not prove is not believed. */
import { describe, expect, test } from "bun:test";
import { limits } from "../../../src/protocol/limits.ts";
import { type LogVector, logVector } from "../../support/attestation/log-vector.ts";
import { MadeUpPlatform, untouched } from "../../support/attestation/made-up-platform.ts";
import { testsAttackSource } from "../../support/hostile/grounds-of-tests.ts";
import type { Script } from "../../support/hostile/hostile-destination.ts";
import { ProvingDestination } from "../../support/hostile/proving-destination.ts";
import type { TrickedSource } from "../../support/hostile/tricked-source.ts";

let source: TrickedSource;

testsAttackSource((made) => {
  source = made;
});

const firmware = logVector("secure-boot");
const ima = logVector("ima-sig");
const judged = { registers: [0, 4, 7, 10], byEvents: [4] };

/** A destination that booted as the logs say, and is recorded with register 4 by its events and 10 by IMA's list. */
function booted(): ProvingDestination {
  const sha256 = ({ registers }: LogVector) => registers.get("sha256")!;
  const platform = new MadeUpPlatform(new Map([...untouched("sha256"), ...sha256(firmware), ...sha256(ima)]));
  platform.eventLog = firmware.bytes;
  platform.imaLog = ima.bytes;
  return new ProvingDestination(source, platform);
}

const prepared = (there: ProvingDestination) => async (home: string) => {
  await there.prepare(home);
  there.platform.recordIn(home, source.identity.fingerprint, judged);
};

test("logs that replay to the quoted values are believed, each asked for in pieces", async () => {
  const there = booted();
  const asked = source.sendTo(there.honest(), {
    attests: true,
    prepare: prepared(there),
    filesMayChange: true,
  });
  expect(await asked.then(() => "kept").catch(() => "done")).toBe("done");
  const pieces = (bytes: Buffer) => Math.ceil(bytes.length / limits.logPieceBytes);
  const fetched = there.heard.filter((name) => name === "fetch").length;
  expect(fetched).toBe(pieces(firmware.bytes) + pieces(ima.bytes));
  // [ATT-3] What came after the first proof is asked for, and nothing twice.
  expect(there.challenges.map(({ events, imaFrom }) => [events, imaFrom])).toEqual([
    [true, 0],
    [false, ima.bytes.length],
  ]);
});

const flipped = (bytes: Buffer, at: number) => {
  const other = Buffer.from(bytes);
  other[at]! ^= 1;
  return other;
};

// [ATT-4]
describe("a log of the firmware's", () => {
  test.each([
    ["cut in an event", firmware.bytes.subarray(0, -3), /./],
    ["that is its first half", firmware.bytes.subarray(0, firmware.bytes.length >> 1), /./],
    ["that came twice", Buffer.concat([firmware.bytes, firmware.bytes]), /./],
    ["with nothing in it", Buffer.alloc(0), /./],
    ["of zeros", Buffer.alloc(4096), /./],
    [
      "with a digest changed",
      changedDigest(firmware.bytes),
      /log does not give the quoted value of register/,
    ],
  ] satisfies [string, Buffer, RegExp][])("%s is refused", async (_, log, message) => {
    const there = booted();
    const prepare = prepared(there);
    await there.expectUntold(lying(there, { eventLog: log }), message, { prepare });
  });

  test("that is absent is refused, where the policy cannot be judged without", async () => {
    const there = booted();
    await there.expectUntold(lying(there, { eventLog: null }), /there is no firmware's log/, {
      prepare: prepared(there),
    });
  });
});

// [ATT-4]
describe("IMA's list", () => {
  test.each([
    ["cut", ima.bytes.subarray(0, -3)],
    ["that came twice", Buffer.concat([ima.bytes, ima.bytes])],
    ["with a byte changed", flipped(ima.bytes, ima.bytes.indexOf("boot_aggregate"))],
    ["that is absent", null],
    ["with nothing in it", Buffer.alloc(0)],
  ])("%s is refused", async (_, log) => {
    const there = booted();
    await there.expectUntold(lying(there, { imaLog: log }), /IMA's|list/, { prepare: prepared(there) });
  });
});

describe("what is said of a log", () => {
  test.each([
    ["the firmware's log", "events", 100 * 1024 * 1024],
    ["the firmware's log", "events", limits.eventLogBytes + 1],
    ["IMA's list", "ima", 100 * 1024 * 1024],
    ["IMA's list", "ima", limits.imaLogBytes + 1],
  ] as const)(
    "of %s that is too long ends it before a byte is asked for (%s: %i)",
    async (_, name, bytes) => {
      const there = booted();
      await there.expectUntold(
        there.honest(() => ({ said: { [name]: bytes } })),
        /./,
        { code: "protocol", prepare: prepared(there) },
      );
      expect(there.said).toEqual(["challenge"]);
    },
  );

  test.each([
    ["shorter than it has to be", (piece: Buffer) => piece.subarray(1)],
    ["empty", () => Buffer.alloc(0)],
    ["longer than is left", (piece: Buffer) => Buffer.concat([piece, Buffer.alloc(1)])],
  ])("a piece that is %s ends it", async (_, change) => {
    const there = booted();
    there.platform.eventLog = firmware.bytes.subarray(0, 1000);
    await there.expectUntold(
      async (visit) => {
        const { send } = visit.peer;
        visit.peer.send = (name, body) => {
          if (name !== "log") return send.call(visit.peer, name, body as never);
          const { bytes } = body as { bytes: string };
          const piece = change(Buffer.from(bytes, "base64"));
          return visit.peer.sendJson("log", { bytes: piece.toString("base64") });
        };
        await there.honest()(visit);
      },
      "a piece of a log is not as long as was said",
      { code: "protocol", prepare: there.prepare },
    );
    expect(there.heard.filter((name) => name === "fetch").length).toBe(1);
  });
});

/** Shows these logs in place of those with which it was recorded; its quote is good. */
function lying(
  there: ProvingDestination,
  logs: Partial<Pick<MadeUpPlatform, "eventLog" | "imaLog">>,
): Script {
  return async (visit) => {
    Object.assign(there.platform, logs);
    await there.honest()(visit);
  };
}

/** Another digest in the middle of the log: that of an event, whose head (register, type, count) says where it begins. */
function changedDigest(log: Buffer): Buffer {
  // Event 4,0x0d (EV_IPL is 0x0d, EV_EFI_BOOT_SERVICES_APPLICATION 0x80000003): the first of register 4.
  const head = Buffer.alloc(8);
  head.writeUInt32LE(4, 0);
  head.writeUInt32LE(0x8000_0003, 4);
  const at = log.indexOf(head);
  if (at < 0) throw new Error("there is no such event in the log");
  // Count of digests (4), algorithm (2), then the digest: of whichever algorithm is the bank's.
  const sha256 = log.indexOf(Buffer.from([0x0b, 0x00]), at + 12);
  return flipped(log, sha256 + 2);
}
