/**
 * The syntax of QEMU's options: "implied,key=value,flag", where ",," is a comma within a value
 * (util/qemu-option.c, util/keyval.c), and the JSON form of some of them. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { printable } from "../../../protocol/printable.ts";
import type { Pair, Scalar, TextPair } from "./model.ts";

/** Deepest JSON that any option of ours has, with room. */
const deepestJson = 4;
/** More keys than any device has. */
const mostPairs = 128;
const longestShownChars = 40;

/** Text from a command line for a sentence: short, and nothing in it that moves a terminal's cursor. */
export function shown(text: string): string {
  const short = printable(text.slice(0, longestShownChars));
  return text.length > longestShownChars ? `${short}…` : short;
}

/** The error for what is refused: `what` is the option, with its key if it is about one. For the caller to throw. */
export function refused(what: string, why: string, hint?: string): MigrateError {
  return new MigrateError("policy", `${what} is refused: ${why}`, { hint });
}

/**
 * The pairs of an option in dotted form. `implied` is the key of a first value that has none.
 * @throws MigrateError "policy" if there are too many.
 */
export function readPairs(option: string, text: string, implied?: string): Pair[] {
  const pairs = pairsOf(splitAtCommas(text), implied);
  if (pairs.length > mostPairs) throw refused(option, `it has more than ${mostPairs} keys`);
  return pairs;
}

/**
 * The pairs that stand between an option's commas; pieces without text are passed over. A key without a value
 * means on, and off if it begins with "no", as QEMU has it.
 */
export function pairsOf(pieces: readonly string[], implied?: string): Pair[] {
  const pairs: Pair[] = [];
  for (const piece of pieces) {
    if (piece === "") continue;
    const equals = piece.indexOf("=");
    if (equals >= 0) pairs.push({ key: piece.slice(0, equals), value: piece.slice(equals + 1) });
    else if (pairs.length === 0 && implied !== undefined) pairs.push({ key: implied, value: piece });
    else if (piece.startsWith("no")) pairs.push({ key: piece.slice(2), value: "off" });
    else pairs.push({ key: piece, value: "on" });
  }
  return pairs;
}

function splitAtCommas(text: string): string[] {
  // No argument has a NUL in it, so that it can stand for an escaped comma.
  return text
    .replaceAll(",,", "\0")
    .split(",")
    .map((piece) => piece.replaceAll("\0", ","));
}

/** Whether an option's value is in JSON form; QEMU decides by the first character as well. */
export function isJson(text: string): boolean {
  return text.startsWith("{");
}

/**
 * The pairs of an option in JSON form, nested keys joined with dots. Lists are refused: no key that we
 * take over has one.
 * @throws MigrateError "policy".
 */
export function readJsonPairs(option: string, text: string): Pair[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MigrateError("policy", `${option} is refused: it is not JSON`, { cause });
  }
  const pairs: Pair[] = [];
  const add = (object: object, prefix: string, depth: number): void => {
    if (depth > deepestJson) throw refused(option, "its JSON is nested too deeply");
    for (const [name, inner] of Object.entries(object)) {
      const key = prefix + name;
      if (isScalar(inner)) pairs.push({ key, value: inner });
      else if (typeof inner === "object" && inner !== null && !Array.isArray(inner))
        add(inner, `${key}.`, depth + 1);
      else throw refused(`${option} ${shown(key)}`, "it is neither text nor a whole number");
      if (pairs.length > mostPairs) throw refused(option, `it has more than ${mostPairs} keys`);
    }
  };
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw refused(option, "it is no JSON object");
  add(value, "", 1);
  return pairs;
}

function isScalar(value: unknown): value is Scalar {
  return (
    value === null || typeof value === "string" || typeof value === "boolean" || Number.isSafeInteger(value)
  );
}

/** Pairs as an option's value in dotted form; the key of the first is left out if it is `implied`. */
export function writePairs(pairs: readonly Pair[], implied?: string): string {
  return pairs
    .map(({ key, value }, at) => {
      const text = escapeCommas(textOf(value));
      return at === 0 && key === implied ? text : `${key}=${text}`;
    })
    .join(",");
}

/** A value as it stands in a dotted option, whose commas it must not end. */
export function escapeCommas(text: string): string {
  return text.replaceAll(",", ",,");
}

/** A value as text: on and off for the booleans of JSON. */
export function textOf(value: Scalar): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  return value === null ? "" : String(value);
}

/** Pairs as they are read from a dotted option. */
export function asText(pairs: readonly Pair[]): TextPair[] {
  return pairs.map(({ key, value }) => ({ key, value: textOf(value) }));
}

/** The value of a key as text; undefined if it is not there. */
export function valueIn(pairs: readonly Pair[], key: string): string | undefined {
  const pair = pairs.find((candidate) => candidate.key === key);
  return pair === undefined ? undefined : textOf(pair.value);
}
