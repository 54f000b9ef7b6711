/** Aligned columns. Pure. */
import { printable } from "../protocol/printable.ts";
import { columnsOf, padEnd, padStart, paint, plainStyle, type Style } from "./line.ts";

export interface Column<Row> {
  title: string;
  /** The cell's text; made harmless here. */
  cell: (row: Row) => string;
  align?: "left" | "right";
}

/** The lines of a table: a heading and a line a row, columns two spaces apart, nothing trailing. */
export function tableLines<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  style: Style = plainStyle,
): string[] {
  const cells = rows.map((row) => columns.map((column) => printable(column.cell(row))));
  const widths = columns.map((column, index) =>
    Math.max(columnsOf(column.title), ...cells.map((line) => columnsOf(line[index] ?? ""))),
  );
  const join = (line: readonly string[]) =>
    line
      .map((text, index) =>
        columns[index]?.align === "right"
          ? padStart(text, widths[index] ?? 0)
          : padEnd(text, widths[index] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return [paint(style, "dim", join(columns.map((column) => column.title))), ...cells.map(join)];
}
