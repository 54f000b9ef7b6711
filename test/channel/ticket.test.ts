import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { inspect } from "node:util";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import {
  checkProof,
  makeTicket,
  type ProofContext,
  parseTicket,
  proveTicket,
} from "../../src/channel/ticket.ts";
import { MigrateError } from "../../src/protocol/errors.ts";
import { refusalOf } from "../support/system/refusals.ts";

const destination = `sha256:${"d0".repeat(32)}`;
const source = `sha256:${"50".repeat(32)}`;
const secret = Buffer.alloc(16, 0x5e);
const exporter = Buffer.alloc(32, 0xe0);
/** Gives the id, then the secret. */
const fixedBytes = (count: number) => (count === 16 ? secret : Buffer.alloc(count, 0x1d));

const refusal = (text: string) => refusalOf(() => parseTicket(text));

/** The text of a ticket with these bytes and a right checksum. */
function textOf(body: Buffer): string {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(Bun.hash.crc32(body));
  return `mig1-${Buffer.concat([body, crc]).toString("base64url")}`;
}

describe("a ticket's text", () => {
  const text = makeTicket(destination, fixedBytes).toText();

  test("is the documented one, byte by byte", () => {
    const fields = [[1], Buffer.alloc(8, 0x1d), secret, Buffer.alloc(32, 0xd0)];
    expect(text).toBe(textOf(Buffer.concat(fields.map((field) => Uint8Array.from(field)))));
    expect(text).toMatch(/^mig1-[A-Za-z0-9_-]{82}$/);
  });

  test("is read back as the same ticket", () => {
    const ticket = makeTicket(destination, (count) => randomBytes(count));
    const read = parseTicket(ticket.toText());
    expect(read.id).toEqual(ticket.id);
    expect(read.destinationFingerprint).toBe(destination);
    expect(read.toText()).toBe(ticket.toText());
    expect(read.prove(exporter, source)).toEqual(ticket.prove(exporter, source));
  });

  test("may have white space around it and be wrapped", () => {
    const wrapped = `\t ${text.slice(0, 40)}\r\n   ${text.slice(40)} \n`;
    expect(parseTicket(wrapped).toText()).toBe(text);
  });

  test("with any one character changed or missing is never taken for whole", () => {
    for (let at = "mig1-".length; at < text.length; at++) {
      const changed = text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
      expect(refusal(changed).message).toContain("pasted whole");
      expect(refusal(text.slice(0, at)).message).toContain("pasted whole");
      expect(refusal(text.slice(0, at) + text.slice(at + 1)).message).toContain("pasted whole");
    }
    for (const more of ["A", "=", "*", ";ls", text])
      expect(refusal(text + more).message).toContain("pasted whole");
  });

  test("of another version is told from a damaged one, by the prefix and by the version byte", () => {
    expect(refusal(text.replace("mig1-", "mig2-")).message).toContain("of version 2");
    const body = Buffer.alloc(57, 0x33);
    expect(refusal(textOf(body)).message).toContain("of version 51");
  });

  test("that is none at all is told so, and never quoted", () => {
    for (const other of [
      "",
      " ",
      "hello",
      `x${text}`,
      text.slice(1),
      `sha256:${"00".repeat(32)}`,
      "m".repeat(1e6),
    ]) {
      expect(refusal(other).message).toContain("not a ticket");
    }
    const said = inspect(refusal(text.slice(0, -1)));
    expect(said).not.toContain(text.slice(20, 50));
    expect(refusal("hello").code).toBe("ticket-invalid");
  });
});

describe("a ticket's secret", () => {
  test("shows neither in JSON nor when inspected or turned into text", () => {
    const marked = makeTicket(destination, (count) => Buffer.from("SECRETSECRETSECR".slice(0, count)));
    const ticket = parseTicket(marked.toText());
    const shown = [
      JSON.stringify({ ticket }),
      inspect({ ticket }, { showHidden: true, getters: true, depth: 9 }),
    ];
    shown.push(
      Bun.inspect(ticket),
      Bun.inspect({ deep: [ticket] }),
      `${ticket}`,
      JSON.stringify({ ...ticket }),
    );
    const secretForms = [
      "SECRETSECRETSECR",
      Buffer.from("SECRETSECRETSECR").toString("hex"),
      "83, 69, 67, 82, 69, 84, 83, 69, 67",
      "83,69,67,82,69,84,83,69,67",
    ];
    for (const text of shown) {
      for (const form of [...secretForms, ticket.toText().slice(17, 37)]) expect(text).not.toContain(form);
    }
  });
});

describe("a proof", () => {
  const context: ProofContext = {
    ticketId: Buffer.alloc(8, 0x1d),
    exporter,
    sourceFingerprint: source,
    destinationFingerprint: destination,
  };

  test("is the documented formula, as another implementation computes it", () => {
    const field = (bytes: Uint8Array) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
    const transcript = Buffer.concat([
      field(Buffer.from("migrate ticket v1 source")),
      field(context.ticketId),
      field(exporter),
      field(Buffer.alloc(32, 0x50)),
      field(Buffer.alloc(32, 0xd0)),
    ]);
    const key = hkdf(sha256, secret, undefined, Buffer.from("migrate ticket v1 key"), 32);
    const expected = Buffer.from(hmac(sha256, key, transcript));
    expect(proveTicket(secret, context).toString("hex")).toBe(expected.toString("hex"));
    expect(checkProof(secret, context, expected)).toBe(true);
  });

  for (const [what, other] of [
    ["another TLS connection", { exporter: Buffer.alloc(32, 0xe1) }],
    ["another source", { sourceFingerprint: destination }],
    ["another destination", { destinationFingerprint: source }],
    ["another ticket", { ticketId: Buffer.alloc(8, 0x1e) }],
  ] as const) {
    test(`is worth nothing for ${what}`, () => {
      const proof = proveTicket(secret, context);
      expect(checkProof(secret, { ...context, ...other }, proof)).toBe(false);
    });
  }

  test("is worth nothing with another secret, cut, lengthened or with any bit changed", () => {
    const proof = proveTicket(secret, context);
    expect(checkProof(Buffer.alloc(16, 0x5f), context, proof)).toBe(false);
    for (const wrong of [Buffer.alloc(0), proof.subarray(0, 31), Buffer.concat([proof, Buffer.alloc(1)])]) {
      expect(checkProof(secret, context, wrong)).toBe(false);
    }
    for (let bit = 0; bit < 256; bit++) {
      const changed = Buffer.from(proof);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(checkProof(secret, context, changed)).toBe(false);
    }
  });

  test("is not made of fields of another length", () => {
    expect(() => proveTicket(secret.subarray(1), context)).toThrow(MigrateError);
    expect(() => proveTicket(secret, { ...context, exporter: Buffer.alloc(0) })).toThrow(MigrateError);
    expect(() => proveTicket(secret, { ...context, ticketId: Buffer.alloc(9) })).toThrow(MigrateError);
    expect(() => proveTicket(secret, { ...context, sourceFingerprint: "sha256:00" })).toThrow(MigrateError);
  });
});
