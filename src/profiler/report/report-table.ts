/** A table of the profiler as HTML, with the header cells marked as such. Pure. */
import { type Markup, markup } from "../notation/markup.ts";
import type { Table } from "../notation/table.ts";

/** Tables of up to so many rows stay on one page of paper. */
const rowsOnOnePage = 16;

/**
 * The table with its title as caption and its notes below (but for those that are `shownElsewhere`), in a box
 * that scrolls by itself if the page is narrow. Rows with an empty first cell belong to the row above: they are
 * one group under one heading.
 */
export function reportTable(table: Table, shownElsewhere: ReadonlySet<string> = new Set()): Markup {
  const groups = groupsOf(table.rows);
  const keys = groups.some((group) => group.length > 1) ? 2 : 1;
  const notes = notesList(table.notes.filter((note) => !shownElsewhere.has(note)));
  return markup`<div class="${table.rows.length > rowsOnOnePage ? "wide" : "wide short"}" role="region" aria-labelledby="${anchorOf(table.id)}" tabindex="0">
<table>
<caption id="${anchorOf(table.id)}">${table.title}</caption>
<thead><tr>${table.columns.map(({ title, align }) => columnHead(title, align))}</tr></thead>
${groups.map((group) => rowGroup(table, group, keys))}</table>
</div>
${notes}`;
}

/** Notes as a list; nothing for none. */
export function notesList(notes: readonly string[]): Markup | undefined {
  if (notes.length === 0) return undefined;
  return markup`<ul class="notes">${notes.map((note) => markup`<li>${note}</li>`)}</ul>\n`;
}

/** The notes that stand below more than one of the tables, each once. */
export function sharedNotes(tables: readonly Table[]): string[] {
  const counts = new Map<string, number>();
  for (const note of tables.flatMap(({ notes }) => notes)) counts.set(note, (counts.get(note) ?? 0) + 1);
  return [...counts].filter(([, count]) => count > 1).map(([note]) => note);
}

/** An identifier of the table within the page. */
function anchorOf(tableId: string): string {
  return `table-${tableId.replace(/[^A-Za-z0-9-]/g, "-")}`;
}

type Row = readonly string[];

function groupsOf(rows: readonly Row[]): Row[][] {
  const groups: Row[][] = [];
  for (const row of rows) {
    const last = groups.at(-1);
    if (row[0] === "" && last !== undefined) last.push(row);
    else groups.push([row]);
  }
  return groups;
}

function columnHead(title: string, align: "left" | "right"): Markup {
  return title === "" ? markup`<td></td>` : markup`<th scope="col" class="${align}">${title}</th>`;
}

function rowGroup(table: Table, group: readonly Row[], keys: number): Markup {
  const rows = group.map((row, place) => {
    const heading = place === 0 ? groupHead(row[0] ?? "", group.length, keys) : undefined;
    const own = keys === 2 ? markup`<th scope="row" class="sub">${row[1] ?? ""}</th>` : undefined;
    const cells = table.columns
      .slice(keys)
      .map(({ align }, index) => markup`<td class="${align}">${row[index + keys] ?? ""}</td>`);
    return markup`<tr>${heading}${own}${cells}</tr>\n`;
  });
  return markup`<tbody>${rows}</tbody>\n`;
}

function groupHead(text: string, rows: number, keys: number): Markup {
  return keys === 1
    ? markup`<th scope="row">${text}</th>`
    : markup`<th scope="rowgroup" rowspan="${rows}">${text}</th>`;
}
