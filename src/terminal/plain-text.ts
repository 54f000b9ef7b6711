/**
 * What a guest or a program has said, as text that steers no terminal: without escape sequences (ECMA-48) and control
 * characters, so that what was said yesterday neither clears a screen nor has a terminal answer for its user. Pure.
 */

/** A control sequence, a string up to its end, and what else begins with an escape. */
const escapes =
  /\u001b\[[0-?]*[ -/]*[@-~]|\u001b[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-~]/g;
const controls = /[^\P{Cc}\n\t]/gu;

/** Lines end in "\n" alone; a lone carriage return, with which a guest draws over its own line, ends one too. */
export function plainText(text: string): string {
  return text
    .replaceAll(escapes, "")
    .replaceAll(/\r+\n/g, "\n")
    .replaceAll("\r", "\n")
    .replaceAll(controls, "");
}
