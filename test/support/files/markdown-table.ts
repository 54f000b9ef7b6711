/** Tables of the profiler as text that a person can read in a golden file. */
import type { Table } from "../../../src/profiler/notation/table.ts";

/** The table in GitHub's Markdown: heading, table, notes as a list. Cells are escaped, so that none can break out. */
export function markdownTable(table: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.map(markdownText).join(" | ")} |`;
  return [
    `### ${markdownText(table.title)}`,
    "",
    line(table.columns.map(({ title }) => title)),
    `|${table.columns.map(({ align }) => (align === "right" ? "---:" : "---")).join("|")}|`,
    ...table.rows.map((row) => line(table.columns.map((_, index) => row[index] ?? ""))),
    ...(table.notes.length === 0 ? [] : ["", ...table.notes.map((note) => `- ${markdownText(note)}`)]),
    "",
  ].join("\n");
}

function markdownText(text: string): string {
  return text.replace(/[\\|<>*_`[\]]/g, "\\$&").replace(/[\r\n]+/g, " ");
}
