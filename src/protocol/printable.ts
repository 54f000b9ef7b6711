/**
 * Text of which a peer, a guest or another program has written a part: what of it may be shown on a terminal
 * and told on. Pure.
 */

/** Control characters (C0, DEL, C1): they move a terminal's cursor, and more. */
const controls = "\\p{Cc}";
/** U+202A to U+202E and U+2066 to U+2069 turn the direction of text, U+2028 and U+2029 end a line. */
const marks = "\\u2028-\\u202e\\u2066-\\u2069";
/** Everything that draws nothing, and so may only deceive: also format, private and unassigned characters. */
const invisible = "\\p{C}\\p{Zl}\\p{Zp}";

const unprintable = new RegExp(`[${controls}${marks}]`, "gu");
const controlPattern = new RegExp(`[${controls}]`, "u");
const markPattern = new RegExp(`[${marks}]`, "u");
const invisibleRuns = new RegExp(`[${invisible}]+`, "gu");

/**
 * `text` with `substitute` for each character that could move a terminal's cursor, end a line or turn the
 * direction of text, and U+FFFD for half a surrogate pair.
 */
export function printable(text: string, substitute: string | ((character: string) => string) = "?"): string {
  const substituteFor = typeof substitute === "string" ? () => substitute : substitute;
  return text.toWellFormed().replace(unprintable, substituteFor);
}

/** Whether `text` has a control character in it. */
export function hasControls(text: string): boolean {
  return controlPattern.test(text);
}

/** Whether `text` has a mark in it that turns the direction of text or ends a line. */
export function hasInvisibleMarks(text: string): boolean {
  return markPattern.test(text);
}

/** `text` with one space for each run of characters that draw nothing. Stricter than `printable`. */
export function withoutInvisible(text: string): string {
  return text.replace(invisibleRuns, " ");
}

/** A pattern for text that consists of visible characters alone (and spaces), from `least` to `most` of them. */
export function visiblePattern(least: number, most: number): RegExp {
  return new RegExp(`^[^${invisible}]{${least},${most}}$`, "u");
}

/**
 * An object as a line of JSON. JSON itself escapes C0 alone; the other unprintable characters are escaped as
 * well, so that the value is the same.
 */
export function jsonLine(object: object): string {
  return printable(
    JSON.stringify(object),
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
