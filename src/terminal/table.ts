/** Aligned columns, or, where they do not fit, a few lines a row. Pure. */
import { printable } from "../protocol/printable.ts";
import { columnsOf, padEnd, padStart, paint, plainStyle, type Style } from "./line.ts";

export interface Column<Row> {
  title: string;
  /** The cell's text; made harmless here. */
  cell: (row: Row) => string;
  /** What is shown of it where all of it makes a row too wide. */
  short?: (row: Row) => string;
  align?: "left" | "right";
}

const gap = "  ";

/**
 * The lines of a table: a heading and a line a row, columns two spaces apart, nothing trailing. Where that is wider
 * than `width` columns, short cells take the place of long ones; if it still is, each row is told in lines of its own.
 */
export function tableLines<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  style: Style = plainStyle,
  width = Number.POSITIVE_INFINITY,
): string[] {
  const whole = aligned(columns, textsOf(columns, rows, false), style, width);
  if (whole !== null) return whole;
  const texts = textsOf(columns, rows, true);
  return aligned(columns, texts, style, width) ?? texts.flatMap((row) => stacked(columns, row, style, width));
}

function textsOf<Row>(columns: readonly Column<Row>[], rows: readonly Row[], short: boolean): string[][] {
  return rows.map((row) =>
    columns.map(({ cell, short: shortCell = cell }) => printable((short ? shortCell : cell)(row))),
  );
}

/** Null if it is wider than that. */
function aligned<Row>(
  columns: readonly Column<Row>[],
  texts: readonly string[][],
  style: Style,
  width: number,
): string[] | null {
  const widths = columns.map(({ title }, index) =>
    Math.max(columnsOf(title), ...texts.map((line) => columnsOf(line[index] ?? ""))),
  );
  const join = (line: readonly string[]) =>
    line
      .map((text, index) =>
        columns[index]?.align === "right"
          ? padStart(text, widths[index] ?? 0)
          : padEnd(text, widths[index] ?? 0),
      )
      .join(gap)
      .trimEnd();
  const [heading, ...lines] = [columns.map(({ title }) => title), ...texts].map(join);
  if ([heading ?? "", ...lines].some((line) => columnsOf(line) > width)) return null;
  return [paint(style, "dim", heading ?? ""), ...lines];
}

/**
 * One row: its first cell, and below it the others with their titles. A cell that is wider than the terminal is the
 * terminal's to wrap, so that it can be copied whole.
 */
function stacked<Row>(
  columns: readonly Column<Row>[],
  row: readonly string[],
  style: Style,
  width: number,
): string[] {
  const lines: string[] = [];
  let used = 0;
  for (const [at, text] of row.entries()) {
    if (at === 0 || text === "") continue;
    const title = columns[at]?.title ?? "";
    const columnsUsed = columnsOf(title) + 1 + columnsOf(text);
    const shown = `${paint(style, "dim", title)} ${text}`;
    if (lines.length > 0 && used + gap.length + columnsUsed <= width) {
      lines[lines.length - 1] += `${gap}${shown}`;
      used += gap.length + columnsUsed;
    } else {
      lines.push(`${gap}${shown}`);
      used = gap.length + columnsUsed;
    }
  }
  return [paint(style, "bold", row[0] ?? ""), ...lines];
}
