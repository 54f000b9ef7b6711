/**
 * HTML and SVG whose text is always escaped: names of processors, kernels and addresses come from other
 * hosts, and a report must show them, never obey them. Pure.
 */

/** Text that is markup already. Made by `markup` and `trustedMarkup` alone. */
export class Markup {
  constructor(readonly text: string) {}

  toString(): string {
    return this.text;
  }
}

type Value = string | number | Markup | undefined | readonly Value[];

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Safe in text and in quoted attributes; characters that XML cannot carry become U+FFFD. */
export function escapeMarkup(text: string): string {
  return (
    text
      .toWellFormed()
      // Control characters but tab and line ends, and two non-characters, are no XML 1.0 (section 2.2).
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ufffe\uffff]/g, "\ufffd")
      .replace(/[&<>"']/g, (character) => entities[character] ?? "")
  );
}

/** A template of markup: values that are strings are escaped, lists are joined, `undefined` is nothing. */
export function markup(pieces: TemplateStringsArray, ...values: readonly Value[]): Markup {
  return new Markup(
    pieces.map((piece, index) => `${piece}${index < values.length ? valueText(values[index]) : ""}`).join(""),
  );
}

/** Text of this program's own making that is to stand as it is: a drawing, a style sheet. */
export function trustedMarkup(text: string): Markup {
  return new Markup(text);
}

function valueText(value: Value): string {
  if (value === undefined) return "";
  if (value instanceof Markup) return value.text;
  if (typeof value === "object") return value.map(valueText).join("");
  return escapeMarkup(String(value));
}
