/** A quote is held against what was asked for [ATT-1] [ATT-2] [ATT-3]. */
import { describe, expect, test } from "bun:test";
import { checkQuote } from "../../../src/attestation/evidence/check-quote.ts";
import type { PcrSelection } from "../../../src/attestation/structures/platform-state.ts";
import { attribute } from "../../../src/attestation/structures/public-area.ts";
import { type QuoteParts, SigningTpm } from "../../support/tpm/signing-tpm.ts";

const selection: PcrSelection = { bank: "sha256", registers: [0, 4, 7] };
const registers = new Map([0, 4, 7, 8].map((register) => [register, `${register}`.repeat(64)]));
const qualifyingData = Buffer.alloc(32, 0x51);
const tpm = new SigningTpm();

const made = (parts: Partial<QuoteParts> = {}) =>
  tpm.quote({ selection, registers, qualifyingData, ...parts });
const check = (shown: ReturnType<typeof made>, asked = selection, akPublic = tpm.akPublic) =>
  checkQuote(shown, akPublic, asked, qualifyingData);

test("a quote that is right shows registers, clock and firmware", () => {
  expect(check(made())).toEqual({
    bank: "sha256",
    registers: new Map([0, 4, 7].map((register) => [register, `${register}`.repeat(64)])),
    clock: { clockMs: 5000, resetCount: 3, restartCount: 0, safe: true },
    firmwareVersion: "02".repeat(8),
  });
});

describe("refused is a quote", () => {
  const refused = (shown: ReturnType<typeof made>, words: RegExp, asked = selection) => {
    expect(() => check(shown, asked)).toThrow(
      expect.objectContaining({ code: "attestation", message: expect.stringMatching(words) }),
    );
  };

  test("by another key", () => {
    const other = new SigningTpm().quote({ selection, registers, qualifyingData });
    refused(other, /not signed by the attestation key/);
  });
  test("of which one bit is changed", () => {
    const shown = made();
    shown.quoted[shown.quoted.length - 1]! ^= 1;
    refused(shown, /not signed by the attestation key/);
  });
  test("that no TPM has made", () => refused(made({ magic: 0xff544348 }), /no TPM has made it/));
  test("that is the certification of a key", () => refused(made({ type: 0x8017 }), /./));
  test("over other qualifying data: another nonce, session, role or host", () =>
    refused(made({ qualifyingData: Buffer.alloc(32, 0x52) }), /another connection, session or question/));
  test("over shorter qualifying data", () =>
    refused(made({ qualifyingData: qualifyingData.subarray(0, 31) }), /another connection/));
  test("over fewer registers", () =>
    refused(made({ selection: { bank: "sha256", registers: [0, 4] } }), /registers that were asked for/));
  test("over more registers", () =>
    refused(
      made({ selection: { bank: "sha256", registers: [0, 4, 7, 8] } }),
      /registers that were asked for/,
    ));
  test("over other registers", () =>
    refused(made({ selection: { bank: "sha256", registers: [0, 4, 8] } }), /registers that were asked for/));
  test("over another bank", () =>
    refused(made({ selection: { bank: "sha384", registers: [0, 4, 7] } }), /registers that were asked for/));
  test("over other values than are shown", () => {
    const shown = made();
    shown.values[1] = "a".repeat(64);
    refused(shown, /not over the values/);
  });
  test("with fewer values than registers, and with more", () => {
    refused({ ...made(), values: made().values.slice(0, 2) }, /not over the values/);
    refused({ ...made(), values: [...made().values, "8".repeat(64)] }, /not over the values/);
  });
  test("with values of the other bank's length", () =>
    refused(
      { ...made(), values: made().values.map((value) => value + "0".repeat(32)) },
      /not over the values/,
    ));
});

describe("refused is an attestation key", () => {
  const usual = attribute.fixedTpm | attribute.fixedParent | attribute.sensitiveDataOrigin;
  const whole = usual | attribute.userWithAuth | attribute.noDa | attribute.restricted | attribute.sign;
  const lacking = {
    fixedTpm: attribute.fixedTpm,
    fixedParent: attribute.fixedParent,
    sensitiveDataOrigin: attribute.sensitiveDataOrigin,
    restricted: attribute.restricted,
    sign: attribute.sign,
  };
  for (const [name, bit] of Object.entries(lacking))
    test(`without ${name}`, () => {
      const other = new SigningTpm(whole & ~bit);
      const shown = other.quote({ selection, registers, qualifyingData });
      expect(() => check(shown, selection, other.akPublic)).toThrow(
        expect.objectContaining({ code: "attestation" }),
      );
    });
  test("that decrypts as well", () => {
    const other = new SigningTpm(whole | attribute.decrypt);
    const shown = other.quote({ selection, registers, qualifyingData });
    expect(() => check(shown, selection, other.akPublic)).toThrow(
      expect.objectContaining({ code: "attestation" }),
    );
  });
  test("that is none", () => {
    for (const akPublic of [Buffer.alloc(0), Buffer.alloc(80, 0xff)])
      expect(() => check(made(), selection, akPublic)).toThrow(
        expect.objectContaining({ code: "attestation" }),
      );
  });
});
