/** A table as data, in pieces for a narrow terminal, and as CSV. Pure. */

export interface TableColumn {
  title: string;
  align: "left" | "right";
}

export interface Table {
  /** Stable and fit for a file name or an anchor: "6.3-source". */
  id: string;
  title: string;
  columns: readonly TableColumn[];
  /** Cells in the order of the columns. */
  rows: readonly (readonly string[])[];
  /** Sentences that belong below it. */
  notes: readonly string[];
}

/**
 * The table in pieces of at most `widthColumns` terminal columns, for a narrow terminal: each piece repeats the
 * first `keys` columns. Columns stand `gap` apart. A piece holds at least one further column, however wide.
 * Only the last piece has the notes. Counts a character as one column: cells here hold no wide ones.
 */
export function splitTable(table: Table, widthColumns: number, keys: number, gap = 2): Table[] {
  const widths = table.columns.map((column, index) =>
    Math.max(column.title.length, ...table.rows.map((row) => row[index]?.length ?? 0)),
  );
  const keyWidth = widths.slice(0, keys).reduce((sum, width) => sum + width + gap, 0) - gap;
  const pieces: number[][] = [];
  let left = 0;
  for (let index = keys; index < table.columns.length; index++) {
    const width = widths[index]! + gap;
    const piece = pieces.at(-1);
    if (piece !== undefined && width <= left) {
      piece.push(index);
      left -= width;
    } else {
      pieces.push([index]);
      left = widthColumns - keyWidth - width;
    }
  }
  if (pieces.length < 2) return [table];
  return pieces.map((piece, place) => {
    const chosen = [...Array(keys).keys(), ...piece];
    return {
      id: `${table.id}-${place + 1}`,
      title: place === 0 ? table.title : `${table.title}, continued`,
      columns: chosen.map((index) => table.columns[index]!),
      rows: table.rows.map((row) => chosen.map((index) => row[index] ?? "")),
      notes: place === pieces.length - 1 ? table.notes : [],
    };
  });
}

/** The heading and the rows as CSV (RFC 4180, but with a bare newline, as Unix tools expect); no notes. */
export function csvTable(table: Table): string {
  return csvLines([table.columns.map(({ title }) => title), ...table.rows]);
}

/** Lines of CSV: a field with a comma, a quote or a line break stands in quotes, a quote is doubled. */
export function csvLines(lines: readonly (readonly string[])[]): string {
  return lines.map((fields) => `${fields.map(csvField).join(",")}\n`).join("");
}

function csvField(field: string): string {
  return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}
