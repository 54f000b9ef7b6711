import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { figuresOf } from "../../../src/profiler/figures/figures.ts";
import { drawFigure } from "../../../src/profiler/figures/render.ts";
import { escapeMarkup } from "../../../src/profiler/notation/markup.ts";
import type { Table } from "../../../src/profiler/notation/table.ts";
import { judgeClaims } from "../../../src/profiler/report/claims.ts";
import { environmentFacts, profileWarnings } from "../../../src/profiler/report/report-facts.ts";
import { reportHtml } from "../../../src/profiler/report/report-html.ts";
import { reportTable, sharedNotes } from "../../../src/profiler/report/report-table.ts";
import { profileTables } from "../../../src/profiler/report/tables.ts";
import type { Samples } from "../../../src/profiler/statistics/samples.ts";
import { syntheticSamples } from "../../support/files/synthetic-samples.ts";

const small = syntheticSamples({ suites: ["insecure", "tls", "rc4"], ramMiB: [128, 512], diskMiB: [0, 64] });

async function report(samples: Samples): Promise<string> {
  const drawings = [];
  for (const figure of figuresOf(samples)) drawings.push(await drawFigure(figure));
  return reportHtml(samples, drawings);
}

const page = await report(small);
/** Those of the texts that a page lacks: a page in an error message helps nobody. */
const missing = (text: string, ...wanted: string[]) => wanted.filter((one) => !text.includes(one));
const occurrences = (text: string, of: string) => text.split(of).length - 1;

describe("the report", () => {
  test("has every claim with its verdict and every table with its caption", () => {
    const judgements = judgeClaims(small);
    expect(judgements.length).toBeGreaterThan(7);
    for (const { id, claim, verdict } of judgements) {
      const item = page.slice(page.indexOf(`<li id="claim-${id}">`)).split("</li>")[0] ?? "";
      expect(missing(item, escapeMarkup(claim))).toEqual([]);
      expect(missing(item.toLowerCase(), `${verdict}.</strong>`)).toEqual([]);
    }
    for (const { title } of profileTables(small))
      expect(missing(page, `${escapeMarkup(title)}</caption>`)).toEqual([]);
  });

  test("has each figure with its text alternative and its numbers", () => {
    const figures = figuresOf(small);
    expect(figures.length).toBe(6);
    for (const { id, title, description, note } of figures) {
      expect(missing(page, `<title id="${id}-title">${escapeMarkup(title)}</title>`)).toEqual([]);
      expect(missing(page, `<p>${escapeMarkup(description)}</p>`)).toEqual([]);
      expect(missing(page, escapeMarkup(note))).toEqual([]);
      expect(missing(page, `<caption id="table-${id}-table">`)).toEqual([]);
    }
    expect(occurrences(page, "<svg ")).toBe(6);
    expect(occurrences(page, "<details>")).toBe(6);
  });

  test("names no place outside itself and runs nothing", () => {
    expect(
      page.match(/<script|<iframe|<object|<embed|<base|<form|<link (?!rel="icon" href="data:,")|@import/i),
    ).toBeNull();
    expect(page.match(/\b(?:src|srcset|action|style|on\w+)=/i)).toBeNull();
    const places = [...page.matchAll(/href="([^"]*)"/g)].map(([, place]) => place);
    expect(places.filter((place) => place !== "data:," && !place?.startsWith("#"))).toEqual([]);
    // Names of namespaces are no places.
    expect(page.replaceAll("http://www.w3.org/2000/svg", "").match(/https?:|url\(/)).toBeNull();
  });

  test("allows by its policy nothing but the one style sheet within it", () => {
    const style = /<style>([\s\S]*?)<\/style>/.exec(page)?.[1] ?? "";
    const digest = createHash("sha256").update(style).digest("base64");
    expect(occurrences(page, "<style")).toBe(1);
    expect(
      missing(
        page,
        escapeMarkup(
          `default-src 'none'; style-src 'sha256-${digest}'; img-src data:; base-uri 'none'; form-action 'none'`,
        ),
      ),
    ).toEqual([]);
  });

  test("has headings in order, and no identifier twice", () => {
    const levels = [...page.matchAll(/<h(\d)/g)].map(([, level]) => Number(level));
    expect(levels).toEqual([1, 2, 2, 2, 2, 2]);
    const known = [...page.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(known).size).toBe(known.length);
    for (const [, target] of page.matchAll(/href="#([^"]+)"/g)) expect(known).toContain(target);
    for (const [, named = ""] of page.matchAll(/aria-labelledby="([^"]+)"/g))
      for (const one of named.split(" ")) expect(known).toContain(one);
  });

  test("is the same each time", async () => {
    expect((await report(small)) === page).toBe(true);
  });

  test("shows what other hosts say of themselves, and obeys none of it", async () => {
    const evil = `</title></style><script>alert(1)</script><img src=x onerror='alert("&")'>\u0000`;
    const hostile = await report({
      ...small,
      startedAt: evil,
      environment: { ...small.environment, cpu: evil, kernel: evil, bun: evil, migrate: evil, link: evil },
      plan: {
        suites: ["tls"],
        engine: "thesis",
        ramBytes: [1],
        diskBytes: [0],
        runs: 1,
        vm: evil,
      },
    });
    expect(occurrences(hostile, "<script") + occurrences(hostile, "<img")).toBe(0);
    expect(occurrences(hostile, "</style>")).toBe(1);
    expect(occurrences(hostile, "</title>")).toBe(1 + 6);
    expect(occurrences(hostile, escapeMarkup(evil))).toBeGreaterThanOrEqual(6);
  });
});

describe("what weakens a profile", () => {
  test("is nothing for a whole one", () => {
    expect(profileWarnings(small)).toEqual([]);
    expect(occurrences(page, 'class="warning"')).toBe(0);
  });

  test("is said at the top of the page, a sentence each", async () => {
    const weak = syntheticSamples({
      suites: ["insecure"],
      ramMiB: [128],
      diskMiB: [0],
      runs: 2,
      partial: true,
      zeroBytesSent: false,
    });
    const warnings = profileWarnings(weak);
    expect(warnings.join("\n")).toMatch(/cut short.*2 runs\.\n.*at least 5.*\n.*Zero bytes were not sent/);
    const weakPage = await report(weak);
    const top = weakPage.slice(0, weakPage.indexOf("<h2"));
    for (const warning of warnings) expect(missing(top, escapeMarkup(warning))).toEqual([]);
  });

  test("counts the combination that was measured least", () => {
    const uneven = {
      ...small,
      samples: small.samples.filter(({ suite, order }) => suite !== "tls" || order % 2),
    };
    expect(profileWarnings(uneven).join()).toContain("The least measured combination");
  });
});

describe("the environment of a profile", () => {
  test("says how the cryptography of tls was told apart, and with what error", () => {
    const tlsShare = {
      source: { share: 0.31, error: 0.02 },
      destination: { share: 0.27, error: 0.03 },
    };
    const facts = environmentFacts({ ...small, environment: { ...small.environment, tlsShare } });
    expect(facts.find(([name]) => name === "Cryptography of tls")?.[1]).toContain(
      "31 % ± 2.0 % on the source, 27 % ± 3.0 % on the destination",
    );
    expect(environmentFacts(small).map(([name]) => name)).not.toContain("Cryptography of tls");
  });
});

describe("a table as HTML", () => {
  const right = (title: string) => ({ title, align: "right" as const });
  const table: Table = {
    id: "6.3-source",
    title: "A & B",
    columns: [right("RAM"), { title: "", align: "left" }, right("tls")],
    rows: [
      ["128", "CPU s", "1"],
      ["", "median", "2"],
      ["256", "CPU s", "3"],
    ],
    notes: ["one", "two"],
  };

  test("heads its columns, and its rows by one heading a group", () => {
    const { text } = reportTable(table);
    expect(missing(text, '<caption id="table-6-3-source">A &amp; B</caption>')).toEqual([]);
    expect(missing(text, '<th scope="col" class="right">tls</th>')).toEqual([]);
    expect(
      missing(text, '<th scope="rowgroup" rowspan="2">128</th><th scope="row" class="sub">CPU s</th>'),
    ).toEqual([]);
    expect(missing(text, '<tr><th scope="row" class="sub">median</th><td class="right">2</td></tr>')).toEqual(
      [],
    );
    expect(missing(text, '<th scope="rowgroup" rowspan="1">256</th>')).toEqual([]);
  });

  test("heads its rows by their first cell where each has one", () => {
    const plain = reportTable({ ...table, rows: [["a", "b", "c"]] }).text;
    expect(
      missing(plain, '<tr><th scope="row">a</th><td class="left">b</td><td class="right">c</td></tr>'),
    ).toEqual([]);
  });

  test("leaves out the notes that stand elsewhere", () => {
    expect(sharedNotes([table, { ...table, notes: ["two", "three"] }])).toEqual(["two"]);
    expect(reportTable(table, new Set(["two"])).text).toContain('<ul class="notes"><li>one</li></ul>');
    expect(reportTable(table, new Set(["one", "two"])).text).not.toContain("<ul");
  });
});
