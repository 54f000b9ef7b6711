/**
 * A path that another host has chosen, as one line that a person can read and a policy can hold: two paths never become
 * one text. Pure.
 */
import { visiblePattern } from "../../protocol/printable.ts";

const visible = visiblePattern(1, 4096);

/**
 * The path as it is if it is UTF-8, visible, without a backslash and without blanks at its ends; else with each byte that
 * is not visible ASCII, and each backslash and blank, as \xNN.
 */
export function printablePath(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  const plain = visible.test(text) && !/[\\\ufffd]|^\s|\s$|[^\S ]/.test(text);
  return plain ? text : [...bytes].map(escaped).join("");
}

function escaped(byte: number): string {
  const asItIs = byte > 0x20 && byte < 0x7f && byte !== 0x5c;
  return asItIs ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
}
