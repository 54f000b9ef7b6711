/**
 * A vector of the wire format, test/vectors/protocol/*.txt: headers, a blank line, and bytes in hex.
 * In the body `#` begins a comment, white space means nothing, and `ab*4096` is 4096 times the byte ab.
 *
 * `received` of a stream is what the destination has received of the VM before: `FILE FROM BYTES`, with bytes as
 * in a body, and a comma before the next. What is not named there reads as zeros.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const folder = join(import.meta.dir, "../vectors/protocol");

/**
 * What may come of a vector, and nothing else: fine, an end in the middle of a frame, a chunk that must come again
 * as it is (WANT with 0), or an error's code.
 */
export const outcomes = [
  "ok",
  "cut",
  "wanted",
  "protocol",
  "limit",
  "name-invalid",
  "version",
  "integrity",
  "insecure-mismatch",
  "ticket-invalid",
] as const;
export type Outcome = (typeof outcomes)[number];

export const kinds = ["stream", "tag", "fingerprint", "digest", "proof", "binding", "receipt"] as const;
export type Kind = (typeof kinds)[number];

const headerNames: Record<Kind, readonly string[]> = {
  stream: ["standing", "files", "key", "instance", "stream", "received", "frames"],
  tag: ["key", "place", "tag"],
  fingerprint: ["key", "print"],
  digest: ["vm", "bound", "files", "digests", "streams", "digest"],
  proof: ["ticket", "secret", "exporter", "source", "destination"],
  // `session` is "-" where HELLO named none.
  binding: ["label", "role", "exporter", "prover", "verifier", "session", "attempt", "nonce", "digest"],
  receipt: [
    ...["word", "session", "mode", "digest", "signer", "other", "generation", "seen"],
    ...["verdict", "certificate"],
  ],
};

/** Bytes that stand at one place of a file of the VM. */
export interface Piece {
  file: number;
  from: number;
  bytes: Buffer;
}

export interface Vector {
  file: string;
  kind: Kind;
  expect: Outcome;
  /** The value of a header, or an error where it is missing. */
  header: (name: string) => string;
  /** The value of a header, or undefined. */
  optional: (name: string) => string | undefined;
  received: readonly Piece[];
  body: Buffer;
}

export function vectors(): Vector[] {
  return readdirSync(folder)
    .sort()
    .map((file) => parseVector(file, readFileSync(join(folder, file), "utf8")));
}

export function parseVector(file: string, text: string): Vector {
  const wrong = (what: string) => new Error(`${file}: ${what}`);
  const blank = text.indexOf("\n\n");
  const headers = new Map<string, string>();
  for (const line of text.slice(0, blank).split("\n")) {
    const [, name, value] = /^([a-z-]+): ?(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined || headers.has(name)) throw wrong(`no header: ${line}`);
    headers.set(name, value);
  }
  const header = (name: string) => {
    const value = headers.get(name);
    if (value === undefined) throw wrong(`the header ${name} is missing`);
    return value;
  };
  const kind = oneOf(kinds, header("kind"));
  const expect = oneOf(outcomes, header("expect"));
  if (kind === undefined || expect === undefined) throw wrong("kind or expect is none of those there are");
  const allowed = ["name", "kind", "comment", "expect", ...headerNames[kind]];
  for (const name of headers.keys()) if (!allowed.includes(name)) throw wrong(`what is ${name}?`);
  if (file !== `${header("name").replaceAll(" ", "-")}.txt`) throw wrong("name and file are not the same");
  return {
    file,
    kind,
    expect,
    header,
    optional: (name) => headers.get(name),
    received: (headers.get("received") ?? "").split(", ").filter(Boolean).map(parsePiece(wrong)),
    body: parseBody(text.slice(blank + 2), wrong),
  };
}

function oneOf<T extends string>(list: readonly T[], word: string): T | undefined {
  return list.find((known) => known === word);
}

const parsePiece =
  (wrong: (what: string) => Error) =>
  (text: string): Piece => {
    const [, file, from, bytes] = /^(\d+) (\d+) (.+)$/.exec(text) ?? [];
    if (bytes === undefined) throw wrong(`nothing that was received: ${text}`);
    return { file: Number(file), from: Number(from), bytes: parseBody(bytes, wrong) };
  };

function parseBody(text: string, wrong: (what: string) => Error): Buffer {
  const words = text.replace(/#.*/g, "").split(/\s+/).filter(Boolean);
  return Buffer.concat(
    words.map((word) => {
      const [, hex, times] = /^((?:[0-9a-f]{2})+)(?:\*(\d+))?$/.exec(word) ?? [];
      if (hex === undefined) throw wrong(`no bytes: ${word}`);
      return times === undefined ? Buffer.from(hex, "hex") : Buffer.alloc(Number(times), hex, "hex");
    }),
  );
}
