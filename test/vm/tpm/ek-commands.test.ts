/** What a TPM answers is a stranger's: an answer is a key of the template, or it is refused. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  answerBytes,
  askEk,
  codeOfAnswer,
  ekDigest,
  forgetPassword,
  needsPassword,
} from "../../../src/vm/tpm/ek-commands.ts";

/** The public area in the command is the template; an answer has one with a point. */
const template = (() => {
  const command = askEk();
  const at = 10 + 4 + 13 + 6;
  return command.subarray(at + 2, at + 2 + command.readUInt16BE(at));
})();
function answerOf(area: Buffer): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt16BE(0x8002, 0);
  head.writeUInt32BE(20 + area.length, 2);
  head.writeUInt16BE(area.length, 18);
  return Buffer.concat([head, area]);
}

test("commands are as long as they say, and have one empty password", () => {
  for (const command of [askEk(), ...forgetPassword()]) {
    expect(command.readUInt32BE(2)).toBe(command.length);
    expect(command.readUInt16BE(0)).toBe(0x8002);
    expect(command.subarray(14, 27).toString("hex")).toBe("00000009400000090000000000");
  }
});

test("the digest is of the public area, and a key of another kind is none", () => {
  const key = Buffer.from(template);
  key.fill(7, key.length - 32);
  expect(ekDigest(answerOf(key))).toBe(`sha256:${createHash("sha256").update(key).digest("hex")}`);
  // Another attribute (not fixed to its TPM), another length, none at all.
  const loose = Buffer.from(key);
  loose[7] = loose[7]! ^ 0x02;
  for (const area of [loose, key.subarray(1), Buffer.concat([key, Buffer.alloc(1)]), Buffer.alloc(0)])
    expect(() => ekDigest(answerOf(area))).toThrow(RangeError);
});

test("100,000 answers of chance are refused, whatever they say of their length", () => {
  const seed = Number(process.env.MIGRATE_TEST_SEED ?? Date.now() % 1_000_000);
  console.log(`answers of a TPM: MIGRATE_TEST_SEED=${seed}`);
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state >>> 8;
  };
  const key = Buffer.from(template);
  for (let n = 0; n < 100_000; n += 1) {
    const answer = answerOf(key);
    // Some bytes of a good one are changed, or it is cut.
    for (let flips = 1 + (next() % 8); flips > 0; flips -= 1)
      answer[next() % (answer.length - 66)] = next() & 0xff;
    const cut = answer.subarray(0, next() % 4 === 0 ? next() % answer.length : answer.length);
    let outcome: string;
    try {
      outcome = ekDigest(cut);
    } catch (thrown) {
      outcome = (thrown as Error).name;
    }
    if (outcome.startsWith("sha256:")) expect(cut.subarray(20, 20 + 54)).toEqual(template.subarray(0, 54));
    else expect(outcome).toBe("RangeError");
  }
});

test("a length that no answer has is refused before anything is kept", () => {
  const head = Buffer.from("8001" + "0000000a" + "0000098e", "hex");
  expect([answerBytes(head), codeOfAnswer(head), needsPassword(0x98e), needsPassword(0x9a2)]).toEqual([
    10,
    0x98e,
    true,
    true,
  ]);
  expect([0, 0x101, 0x922, 0x08e & 0x7f].map(needsPassword)).toEqual([false, false, false, false]);
  for (const length of [0, 9, 4097, 0xffff_ffff]) {
    head.writeUInt32BE(length, 2);
    expect(() => answerBytes(head)).toThrow(RangeError);
  }
});
