/** What happens to records on their way, and that it is noticed. */
import { describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import type { Meter } from "../../../../src/profiler/engine/account/operation-meter.ts";
import { recordKeys } from "../../../../src/profiler/engine/records/record-keys.ts";
import {
  RecordOpener,
  RecordSealer,
  recordBytes,
  recordHeaderBytes,
} from "../../../../src/profiler/engine/records/record-layer.ts";
import { recordProtection } from "../../../../src/profiler/engine/records/record-protection.ts";
import { suiteNames } from "../../../../src/profiler/statistics/samples.ts";
import { type RecordSuite, suiteOf } from "../../../../src/profiler/statistics/suite.ts";
import { MigrateError } from "../../../../src/protocol/errors.ts";

/** Nothing is measured here. */
const noMeter: Meter = { to: () => {} };

const suites = suiteNames.flatMap((name) => {
  const { lane } = suiteOf(name);
  return lane.kind === "none" || lane.kind === "tls" ? [] : [[name, lane] as const];
});
const exporter = createHash("sha256").update("a control connection").digest();
const direction = "source to destination";

function sealer(name: (typeof suites)[number][0], lane: RecordSuite): RecordSealer {
  return new RecordSealer(
    recordProtection(lane, recordKeys(exporter, { suite: name, direction, lane: 0 }, lane), noMeter),
  );
}

/** Opens all these bytes; gives the plaintext, or the code of what was thrown. */
function open(
  name: (typeof suites)[number][0],
  lane: RecordSuite,
  wire: readonly Buffer[],
  keysOf = exporter,
): Buffer | string {
  const plain: Buffer[] = [];
  const keys = recordKeys(keysOf, { suite: name, direction, lane: 0 }, lane);
  const opener = new RecordOpener(recordProtection(lane, keys, noMeter), noMeter, (piece) =>
    plain.push(Buffer.from(piece)),
  );
  try {
    for (const bytes of wire) opener.push(bytes);
    opener.finish();
  } catch (thrown) {
    if (thrown instanceof MigrateError) return thrown.code;
    throw thrown;
  }
  return Buffer.concat(plain);
}

describe.each(suites)("%s", (name, lane) => {
  const pieces = [randomBytes(1000), randomBytes(1), randomBytes(5000), randomBytes(16), randomBytes(3333)];
  const whole = Buffer.concat(pieces);
  /** Each record whole; the last one is the end. */
  const records = (() => {
    const from = sealer(name, lane);
    return [...pieces.map((piece) => Buffer.concat(from.seal(piece))), Buffer.concat(from.end())];
  })();
  const without = (index: number) => records.filter((_, at) => at !== index);

  test("gives back what was sealed, whatever pieces it comes in", () => {
    expect(open(name, lane, records)).toEqual(whole);
    const wire = Buffer.concat(records);
    expect(open(name, lane, [wire])).toEqual(whole);
    for (const step of [1, 7, 999, 4096]) {
      const cut = Array.from({ length: Math.ceil(wire.length / step) }, (_, i) =>
        wire.subarray(i * step, (i + 1) * step),
      );
      expect(open(name, lane, cut)).toEqual(whole);
    }
  });

  test("a full record goes through, and a larger one is not made", () => {
    const plain = randomBytes(recordBytes);
    const from = sealer(name, lane);
    expect(open(name, lane, [...from.seal(plain), ...from.end()])).toEqual(plain);
    expect(() => from.seal(Buffer.alloc(recordBytes + 1))).toThrow(RangeError);
  });

  test("plaintext is nowhere on the wire", () => {
    const from = sealer(name, lane);
    const wire = Buffer.concat([
      ...from.seal(Buffer.alloc(4096, "secret")),
      ...from.seal(Buffer.alloc(4096, "secret")),
    ]);
    expect(wire.includes("secret")).toBe(false);
    // Equal plaintexts do not look alike either.
    const half = wire.length / 2;
    expect(wire.subarray(recordHeaderBytes, half).equals(wire.subarray(half + recordHeaderBytes))).toBe(
      false,
    );
  });

  test("a flipped bit is caught wherever it is", () => {
    const wire = Buffer.concat(records);
    for (let at = 0; at < wire.length; at += at < 40 ? 1 : 97) {
      const damaged = Buffer.from(wire);
      damaged[at]! ^= 1 << (at % 8);
      // A length that grew waits for bytes that never come, so that the end is missing.
      expect(open(name, lane, [damaged])).toBeOneOf(["integrity", "protocol"]);
    }
  });

  test("a dropped record is caught: any, the first, the last, and the end", () => {
    for (let index = 0; index < records.length; index++)
      expect(open(name, lane, without(index))).toBe("integrity");
  });

  test("a repeated record is caught, at once or later", () => {
    const [first, second, ...rest] = records;
    expect(open(name, lane, [first!, first!, second!, ...rest])).toBe("integrity");
    expect(open(name, lane, [first!, second!, first!, ...rest])).toBe("integrity");
    expect(open(name, lane, [...records, records.at(-1)!])).toBe("integrity");
  });

  test("records in another order are caught, their numbers rewritten or not", () => {
    const [first, second, ...rest] = records;
    expect(open(name, lane, [second!, first!, ...rest])).toBe("integrity");
    const renumbered = [Buffer.from(second!), Buffer.from(first!)];
    for (const [number, record] of renumbered.entries()) record.writeBigUInt64BE(BigInt(number), 8);
    expect(open(name, lane, [...renumbered, ...rest])).toBe("integrity");
  });

  test("a lane that is cut anywhere is caught", () => {
    const wire = Buffer.concat(records);
    for (const bytes of [0, 1, 15, 16, 17, records[0]!.length, wire.length - 1]) {
      expect(open(name, lane, [wire.subarray(0, bytes)])).toBe("integrity");
    }
  });

  test("bytes behind the end are caught", () => {
    expect(open(name, lane, [...records, Buffer.alloc(1)])).toBe("integrity");
  });

  test("records of another connection are caught", () => {
    expect(open(name, lane, records, randomBytes(32))).toBe("integrity");
  });

  test("a length beyond the limit is refused before anything is made of it", () => {
    for (const bytes of [0, recordBytes + 1000, 0xffff_ffff]) {
      const header = Buffer.alloc(recordHeaderBytes);
      header.writeUInt32BE(bytes, 0);
      expect(open(name, lane, [header])).toBe("protocol");
      expect(open(name, lane, [header.subarray(0, 3), header.subarray(3)])).toBe("protocol");
    }
  });
});
