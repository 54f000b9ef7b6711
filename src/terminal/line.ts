/** One line of text on a terminal: cut to a width, padded, coloured. Pure. */

/** Columns that `text` takes; wide characters take two. */
export function columnsOf(text: string): number {
  return Bun.stringWidth(text);
}

/** `text` cut to at most `columns` columns, its cut marked with `mark`. */
export function cut(text: string, columns: number, mark = "…"): string {
  if (columnsOf(text) <= columns) return text;
  const room = columns - columnsOf(mark);
  if (room <= 0) return mark.slice(0, Math.max(0, columns));
  let kept = "";
  let used = 0;
  for (const character of text) {
    used += columnsOf(character);
    if (used > room) break;
    kept += character;
  }
  return kept + mark;
}

/**
 * `text`, broken at its spaces, or words that are not to be broken, in lines of at most `columns` columns; a word that
 * is wider has a line of its own.
 */
export function wrapped(text: string | readonly string[], columns: number): string[] {
  const lines: string[] = [];
  let line: string | undefined;
  const words = typeof text === "string" ? text.split(/\s+/).filter((word) => word !== "") : text;
  for (const word of words) {
    if (line !== undefined && columnsOf(line) + 1 + columnsOf(word) > columns) {
      lines.push(line);
      line = word;
    } else line = line === undefined ? word : `${line} ${word}`;
  }
  return [...lines, line ?? ""];
}

/** Lines, those that are wider than `columns` broken at their spaces, and what follows indented by two more. */
export function flowed(text: string, columns: number): string {
  return text
    .split("\n")
    .map((line) => flowedLine(line, columns))
    .join("\n");
}

function flowedLine(line: string, columns: number): string {
  if (columnsOf(line) <= columns) return line;
  const indent = /^ */.exec(line)?.[0] ?? "";
  const [first = "", ...rest] = wrapped(line, columns - indent.length);
  if (rest.length === 0) return line;
  const more = wrapped(rest.join(" "), columns - indent.length - 2);
  return [indent + first, ...more.map((part) => `${indent}  ${part}`)].join("\n");
}

/** `text` padded with spaces on the right to `columns` columns. */
export function padEnd(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - columnsOf(text)));
}

/** `text` padded with spaces on the left to `columns` columns. */
export function padStart(text: string, columns: number): string {
  return " ".repeat(Math.max(0, columns - columnsOf(text))) + text;
}

export type Colour = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

const codes: Record<Colour, readonly [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
};

/** How lines may look: with colour or without, with characters beyond ASCII or without. */
export interface Style {
  colour: boolean;
  unicode: boolean;
}

export const plainStyle: Style = { colour: false, unicode: false };

/** `text` in `colour` (ECMA-48, SGR), or as it is if the style has no colours. */
export function paint(style: Style, colour: Colour, text: string): string {
  if (!style.colour || text === "") return text;
  const [on, off] = codes[colour];
  return `\u001b[${on}m${text}\u001b[${off}m`;
}

/** What marks text that was cut. */
export function ellipsis(style: Style): string {
  return style.unicode ? "…" : "...";
}

/** A bar of `columns` columns, the first `part` (0 to 1) of them filled and in `colour`. */
export function bar(style: Style, colour: Colour, part: number, columns: number): string {
  const filled = Math.floor(part * columns);
  const [full, empty] = style.unicode ? ["█", "░"] : ["#", "-"];
  return paint(style, colour, full.repeat(filled)) + paint(style, "dim", empty.repeat(columns - filled));
}

/**
 * The style and whether lines may be redrawn in place, from the environment: NO_COLOR
 * (no-color.org: set and not empty), TERM=dumb, and the locale's character set.
 */
export function styleFor(
  env: Record<string, string | undefined>,
  isTTY: boolean,
): { style: Style; redraws: boolean } {
  const dumb = !isTTY || env.TERM === "dumb" || env.TERM === undefined || env.TERM === "";
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || "";
  return {
    style: { colour: !dumb && !env.NO_COLOR, unicode: /utf-?8/i.test(locale) },
    redraws: !dumb,
  };
}
