/** What becomes of a profile: tables on the terminal, and files in a folder. */
import { mkdirSync, renameSync, rmdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { csvTable, splitTable, type Table } from "../../profiler/notation/table.ts";
import { profileAdvice } from "../../profiler/report/advice.ts";
import { claimsTitle, judgeClaims } from "../../profiler/report/claims.ts";
import { samplesCsv } from "../../profiler/report/csv.ts";
import { profileWarnings } from "../../profiler/report/report-facts.ts";
import { profileTables } from "../../profiler/report/tables.ts";
import type { Samples } from "../../profiler/statistics/samples.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { tableLines } from "../../terminal/table.ts";

/** How wide a table may be if the output is no terminal, in columns. */
const plainColumns = 160;

/** The folder of a profile's files. */
export class ProfileFolder {
  readonly path: string;

  /** Makes it. Throws MigrateError "file-unusable" if that cannot be done. */
  constructor(path: string) {
    this.path = resolve(path);
    try {
      mkdirSync(this.path, { recursive: true });
    } catch (cause) {
      throw cannotWrite(this.path, cause);
    }
  }

  get samplesPath(): string {
    return join(this.path, "samples.json");
  }

  /** Removes the folder if nothing was written to it. */
  removeIfEmpty(): void {
    try {
      rmdirSync(this.path);
    } catch {
      // It holds something, this profile's or another's.
    }
  }

  /** Keeps the raw samples, whole at every moment. Throws MigrateError "file-unusable". */
  keepSamples(samples: Samples): void {
    this.#write("samples.json", `${JSON.stringify(samples)}\n`);
  }

  /** Writes everything that is drawn from samples: CSV, SVG, report.html. Returns the names. */
  async writeReport(samples: Samples): Promise<string[]> {
    // Vega is large: loaded only by whoever draws.
    const [{ figuresOf }, { drawFigure }, { reportHtml }] = await Promise.all([
      import("../../profiler/figures/figures.ts"),
      import("../../profiler/figures/render.ts"),
      import("../../profiler/report/report-html.ts"),
    ]);
    const names: string[] = [];
    const write = (name: string, text: string) => {
      this.#write(name, text);
      names.push(name);
    };
    write("samples.csv", samplesCsv(samples));
    for (const table of profileTables(samples)) write(`table-${table.id}.csv`, csvTable(table));
    const drawings = [];
    for (const figure of figuresOf(samples)) drawings.push(await drawFigure(figure));
    for (const { figure, file } of drawings) write(`${figure.id}.svg`, file);
    write("report.html", reportHtml(samples, drawings));
    return names;
  }

  #write(name: string, text: string): void {
    const path = join(this.path, name);
    const temporary = `${path}.${process.pid}.tmp`;
    try {
      writeFileSync(temporary, text);
      renameSync(temporary, path);
    } catch (cause) {
      throw cannotWrite(path, cause);
    }
  }
}

/** All that a person reads of a profile, for a terminal of `columns` columns, or 0 if the output is none. */
export function profileText(samples: Samples, columns: number): string {
  const width = columns > 0 ? columns : plainColumns;
  const shown = new Set<string>();
  return [
    ...profileWarnings(samples).map((warning) => `Mind: ${warning}`),
    ...profileTables(samples).map((table) => tableText(withNewNotes(table, shown), width)),
    claimsText(samples),
    profileAdvice(samples).join("\n\n"),
    "",
  ].join("\n\n");
}

/** A table with its title and notes, in pieces if the terminal is narrow. */
export function tableText(table: Table, width: number): string {
  return splitTable(table, width, Math.min(2, table.columns.length - 1))
    .map(({ title, columns, rows, notes }) => {
      const cells = columns.map(({ title: heading, align }, index) => ({
        title: heading,
        align,
        cell: (row: readonly string[]) => row[index] ?? "",
      }));
      return [title, ...tableLines(cells, rows), ...notes.map((note) => `  ${note}`)].join("\n");
    })
    .join("\n\n");
}

/** Many tables have the same notes: a note is shown below the first one. */
function withNewNotes(table: Table, shown: Set<string>): Table {
  const notes = table.notes.filter((note) => !shown.has(note));
  for (const note of notes) shown.add(note);
  return { ...table, notes };
}

/** Claims are sentences: no table holds them. */
function claimsText(samples: Samples): string {
  const judgements = judgeClaims(samples);
  return [
    claimsTitle,
    ...judgements.flatMap(({ claim, verdict, sentence }) => [`- ${claim}`, `  ${verdict}: ${sentence}`]),
  ].join("\n");
}

function cannotWrite(path: string, cause: unknown): MigrateError {
  const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
  return new MigrateError("file-unusable", `${path} cannot be written: ${code}`, {
    cause,
    hint: "Name another folder with --out.",
  });
}
