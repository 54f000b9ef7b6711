/** SPEC.md and the code say the same, and every MUST in it has a test that names it. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { errorCodes } from "../../src/protocol/errors.ts";
import { type FrameName, frameTypes, payloadLimit, type Standing } from "../../src/protocol/frames.ts";
import { chunkBodyBytes, limits } from "../../src/protocol/limits.ts";

const root = resolve(import.meta.dir, "../..");
const spec = readFileSync(join(root, "src/protocol/SPEC.md"), "utf8");

const idPattern = /\[([A-Z]+-\d+)\]/g;
/** Where an id is defined: at the beginning of an item of a list. */
const defined = [...spec.matchAll(/^- \[([A-Z]+-\d+)\]/gm)].map((match) => match[1]!);

/** The rows of the tables of a section, cell by cell, without their heads. */
function rowsOf(section: string): string[][] {
  const text = spec.split(/^## /m).find((part) => part.startsWith(`${section}\n`));
  if (text === undefined) throw new Error(`SPEC.md has no section ${section}`);
  const rows = text.split("\n").filter((line) => line.startsWith("|"));
  return rows.slice(2).map((row) =>
    row
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim()),
  );
}

const wireName = (name: string) =>
  name.toLowerCase().replace(/-(.)/g, (_, letter: string) => letter.toUpperCase()) as FrameName;

describe("every MUST of the protocol", () => {
  test("has an id, and no id is given twice", () => {
    expect(new Set(defined).size).toBe(defined.length);
    expect(defined.length).toBeGreaterThan(40);
    for (const paragraph of spec.split(/\n(?=- )|\n\n/)) {
      if (!/\bMUST\b/.test(paragraph) || paragraph.includes("RFC 2119")) continue;
      expect(paragraph).toMatch(/^- \[[A-Z]+-\d+\]/);
    }
  });

  test("is cited by a test, and no test cites one that is not there", () => {
    const cited = new Map<string, string[]>();
    for (const path of new Bun.Glob("test/**/*.ts").scanSync({ cwd: root })) {
      for (const [, id] of readFileSync(join(root, path), "utf8").matchAll(idPattern)) {
        cited.set(id!, [...(cited.get(id!) ?? []), path]);
      }
    }
    expect(defined.filter((id) => !cited.has(id))).toEqual([]);
    expect([...cited].filter(([id]) => !defined.includes(id))).toEqual([]);
  });

  test("that SPEC.md refers to is there", () => {
    for (const [, id] of spec.matchAll(idPattern)) expect(defined).toContain(id!);
  });
});

describe("the tables of SPEC.md are the code's", () => {
  test("limits [LIMIT-1]", () => {
    const table = Object.fromEntries(rowsOf("Limits").map(([name, value]) => [name, Number(value)]));
    expect(table).toEqual({ ...limits });
  });

  test("frame types", () => {
    const cells = rowsOf("Frames").flat();
    const table: Record<string, number> = {};
    for (let i = 0; i < cells.length; i++) {
      if (/^\d+$/.test(cells[i]!)) table[wireName(cells[i + 1]!)] = Number(cells[i]);
    }
    expect(table).toEqual({ ...frameTypes });
  });

  test("standings, with what each may send and how much of it", () => {
    const rows = rowsOf("Standing");
    expect(rows.map(([standing]) => standing!.replace(/:.*/, ""))).toEqual([
      "stranger",
      "control",
      "lane-destination",
      "lane-source",
      "stream-destination",
      "stream-source",
    ]);
    // "All but those of lanes and streams alone": what they may send and a stranger may not.
    const wordsOf = (row: string[]) => row[1]!.split(/\s+/).map(wireName);
    const bulk = new Set(rows.slice(2).flatMap(wordsOf));
    for (const name of wordsOf(rows[0]!)) bulk.delete(name);
    expect(bulk.size).toBe(8);
    for (const [standing, frames, largest] of rows) {
      const exceptions = new Map(
        [...largest!.matchAll(/([A-Z-]+) (\d+)/g)].map(([, name, bytes]) => [wireName(name!), Number(bytes)]),
      );
      const usual = Number(/(?:^|others )(\d+)/.exec(largest!)?.[1]);
      const listed = frames!.split(/\s+/).filter(Boolean).map(wireName);
      for (const name of Object.keys(frameTypes) as FrameName[]) {
        const isAllButBulk = frames === "all but those of lanes and streams alone";
        const may = isAllButBulk ? !bulk.has(name) : listed.includes(name);
        const bytes = may ? (exceptions.get(name) ?? usual) : null;
        const asked = payloadLimit(name, standing!.replace(/:.*/, "") as Standing);
        expect({ standing, name, bytes: asked }).toEqual({ standing, name, bytes });
      }
    }
  });

  test("the largest chunk, and the largest body of one", () => {
    expect(spec).toContain(`largest body there can be (${chunkBodyBytes} bytes)`);
    expect(spec).toContain(`CHUNK ${limits.chunkHeaderBytes + chunkBodyBytes}`);
    expect(spec).toContain(`DATA ${limits.dataHeaderBytes + limits.dataBytes}`);
  });

  test("the codes that it explains", () => {
    const text = spec.slice(spec.indexOf("## Errors and versions"));
    const named = [...text.matchAll(/`([a-z-]+)`/g)].map((match) => match[1]!);
    expect(named.length).toBeGreaterThan(20);
    for (const code of named) expect(Object.keys(errorCodes)).toContain(code);
  });
});
