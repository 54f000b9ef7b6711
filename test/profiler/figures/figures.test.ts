import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Figure } from "../../../src/profiler/figures/figure.ts";
import { figuresOf } from "../../../src/profiler/figures/figures.ts";
import { hatchPath, operationColor } from "../../../src/profiler/figures/hatch.ts";
import { ink, paper, suiteLooks } from "../../../src/profiler/figures/palette.ts";
import { drawFigure } from "../../../src/profiler/figures/render.ts";
import { parseSamples } from "../../../src/profiler/runs/parse-samples.ts";
import { operations, type Samples, suiteNames } from "../../../src/profiler/statistics/samples.ts";
import { expectGolden } from "../../support/files/golden.ts";
import { seededRandom, syntheticSamples } from "../../support/files/synthetic-samples.ts";

const recordedName = "../../../docs/thesis-run.json";
const recorded = parseSamples(readFileSync(join(import.meta.dir, recordedName), "utf8"), recordedName);

/** Two sizes, three suites of which one is far dearer, five runs. */
const small = syntheticSamples({
  suites: ["insecure", "tls", "3des"],
  ramMiB: [128, 512],
  diskMiB: [0],
  seed: 7,
});

function figure(samples: Samples, id: string): Figure {
  const found = figuresOf(samples).find((one) => one.id === id);
  if (found === undefined) throw new Error(`there is no figure ${id}`);
  return found;
}

const ids = (samples: Samples) => figuresOf(samples).map(({ id }) => id);

describe("the figures of a profile", () => {
  test("are the thesis's four and the total times, each where there is data for it", () => {
    expect(ids(syntheticSamples({ ramMiB: [128] }))).toEqual([
      "figure-6-1",
      "figure-6-2",
      "total-time-without-disk",
      "figure-6-3",
      "figure-6-4",
      "total-time-with-disk",
    ]);
    expect(ids(syntheticSamples({ ramMiB: [128], diskMiB: [0] }))).toEqual([
      "figure-6-1",
      "figure-6-2",
      "total-time-without-disk",
    ]);
  });

  test("have names of their own where there are disks of several sizes, or the product's own engine", () => {
    const thesis = syntheticSamples({ ramMiB: [128], diskMiB: [64, 0.5] });
    const full = syntheticSamples({ ramMiB: [128], diskMiB: [0], engine: "full" });
    const all = ids({ ...thesis, samples: [...thesis.samples, ...full.samples] });
    expect(all).toContain("figure-6-3-64");
    expect(all).toContain("figure-6-3-0-5");
    expect(all).toContain("figure-6-1-full");
    expect(new Set(all).size).toBe(all.length);
    for (const id of all) expect(id).toMatch(/^[a-z0-9-]+$/);
  });

  test("do not depend on the order in which the runs were kept", () => {
    const backwards = { ...small, samples: small.samples.toReversed() };
    expect(figuresOf(backwards)).toEqual(figuresOf(small));
  });

  test("leave out a figure for which nothing took any time", () => {
    const idle = syntheticSamples({ ramMiB: [128], diskMiB: [0], bend: withoutCpu });
    expect(ids(idle)).toEqual(["total-time-without-disk"]);
  });
});

function withoutCpu(sample: Samples["samples"][number]) {
  const none = { ...sample.source, userMs: 0, systemMs: 0, clockMs: 0 };
  none.operationsMs = Object.fromEntries(operations.map((name) => [name, 0])) as typeof none.operationsMs;
  return { ...sample, source: none, destination: none };
}

describe("a figure of CPU time", () => {
  test("gives the numbers of its bars: means by operation that add up to the total, within its interval", () => {
    const { table } = figure(small, "figure-6-1");
    expect(table.columns.map(({ title }) => title)).toEqual([
      "RAM",
      "suite",
      "runs",
      "file-read",
      "encrypt",
      "mac",
      "socket-write",
      "rest",
      "total",
      "95 % interval",
    ]);
    expect(table.rows.map(([size, suite]) => [size, suite])).toEqual([
      ["128 MiB", "insecure"],
      ["", "tls"],
      ["", "3des"],
      ["512 MiB", "insecure"],
      ["", "tls"],
      ["", "3des"],
    ]);
    for (const row of table.rows) {
      const parts = row.slice(3, 8).reduce((sum, text) => sum + Number(text), 0);
      const total = Number(row[8]);
      expect(Math.abs(parts - total)).toBeLessThan(0.03);
      const [low = Number.NaN, high = Number.NaN] = row[9]?.split(" to ").map(Number) ?? [];
      expect(low).toBeLessThanOrEqual(total);
      expect(high).toBeGreaterThanOrEqual(total);
    }
  });

  test("says in words what there is to see at the largest size", () => {
    const { description } = figure(small, "figure-6-2");
    expect(description).toContain("CPU time of the destination by operation, for 128 MiB and 512 MiB of RAM");
    expect(description).toMatch(
      /At 512 MiB: insecure 0\.3\d\d s \(95 % interval .* to .*\), 5\d % of it socket-read; tls/,
    );
    expect(description).toMatch(/3des .*, 9\d % of it decrypt\.$/);
  });

  test("shows the cheap suites once more where one is more than ten times dearer, and says so", () => {
    const { spec, note } = figure(small, "figure-6-1");
    expect("hconcat" in spec && spec.hconcat.length).toBe(2);
    expect(note).toContain("On the right the same bars without 3des");
    const alike = syntheticSamples({ suites: ["insecure", "tls"], ramMiB: [128], diskMiB: [0] });
    expect("hconcat" in figure(alike, "figure-6-1").spec).toBe(false);
  });

  test("has no interval with fewer than five runs, and says why", () => {
    const few = syntheticSamples({ suites: ["insecure"], ramMiB: [128], diskMiB: [0], runs: 4 });
    const { table, note, description } = figure(few, "figure-6-1");
    expect(table.rows[0]?.at(-1)).toBe("–");
    expect(note).toContain("fewer than 5 runs");
    expect(description).not.toContain("interval");
  });
});

describe("a figure of total times", () => {
  test("turns logarithmic where one straight scale would hide all but the slowest, and says so", () => {
    const options = { ramMiB: [128, 1024], diskMiB: [0], suites: ["insecure", "3des"] } as const;
    const slowLink = figure(syntheticSamples(options), "total-time-without-disk");
    expect(slowLink.note).not.toContain("logarithmic");
    const fastLink = figure(
      syntheticSamples({ ...options, linkBytesPerSec: 1e10 }),
      "total-time-without-disk",
    );
    expect(fastLink.note).toContain("Both scales are logarithmic");
  });

  test("stays straight where an interval reaches down to nothing", () => {
    const wild = syntheticSamples({
      ramMiB: [128],
      diskMiB: [0],
      suites: ["insecure", "3des"],
      linkBytesPerSec: 1e10,
      bend: (sample) => ({ ...sample, totalMs: sample.totalMs * (sample.order % 2 === 0 ? 0.01 : 3) }),
    });
    expect(figure(wild, "total-time-without-disk").note).not.toContain("logarithmic");
  });
});

describe("a drawing", () => {
  test("of recorded samples is what it was", async () => {
    const figures = figuresOf(recorded);
    expect(figures.length).toBe(6);
    for (const one of figures) expectGolden(`${one.id}.svg`, (await drawFigure(one)).file);
  });

  test("is the same each time", async () => {
    for (const one of figuresOf(small)) expect(await drawFigure(one)).toEqual(await drawFigure(one));
  });

  test("has its title and its description for those who do not see it", async () => {
    const one = figure(small, "figure-6-1");
    const { svg } = await drawFigure(one);
    expect(svg).toContain(`role="img" aria-labelledby="figure-6-1-title figure-6-1-desc"`);
    expect(svg).toContain(`<title id="figure-6-1-title">${one.title}</title>`);
    expect(svg).toContain(`<desc id="figure-6-1-desc">${one.description}</desc>`);
  });

  test("asks for nothing outside itself, and no identifier stands twice in a page of all figures", async () => {
    const drawings = await Promise.all(figuresOf(syntheticSamples({ ramMiB: [128] })).map(drawFigure));
    const page = drawings.map(({ svg }) => svg).join("");
    expect(page).not.toMatch(/<script|<image|<use|<foreignObject|style=|href|@import/);
    expect(page).not.toMatch(/url\(|hatched:|paper-stroke/);
    const known = [...page.matchAll(/\bid="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(known).size).toBe(known.length);
    expect(known.length).toBe(3 * drawings.length);
  });

  test("works with one run, one suite, one size of no round number, and times of nearly nothing", async () => {
    const odd = syntheticSamples({
      suites: ["chacha20-poly1305"],
      ramMiB: [0.3],
      diskMiB: [1.7],
      runs: 1,
      linkBytesPerSec: 1e12,
    });
    for (const one of figuresOf(odd)) {
      const { svg } = await drawFigure(one);
      expect(svg).not.toMatch(/NaN|Infinity|undefined|null/);
    }
  });

  test("is refused where the library warns: such a figure is not as it was meant", async () => {
    const broken = { mark: "bar", encoding: { x: { value: 1 }, nowhere: { field: "a", type: "nominal" } } };
    await refused(broken);
  });

  test("never reads a file or an address", async () => {
    await refused({ data: { url: "/etc/hostname" }, mark: "bar", encoding: {} });
    await refused({ data: { url: "http://127.0.0.1:9/" }, mark: "bar", encoding: {} });
  });
});

async function refused(spec: object): Promise<void> {
  const one = { ...figure(small, "figure-6-1"), spec } as unknown as Figure;
  const outcome = await drawFigure(one).catch((error: unknown) => error);
  expect(outcome).toMatchObject({ code: "bug" });
}

describe("colours", () => {
  const tones = [
    ...operations.map(operationColor),
    ...suiteNames.map((suite) => suiteLooks[suite].color).filter((color) => color !== "currentColor"),
  ];

  test("stand out from light and from dark paper by 3:1 (WCAG 2.2, 1.4.11), and text by 7:1", () => {
    for (const tone of tones)
      for (const ground of Object.values(paper))
        expect({ tone, ground, enough: contrast(tone, ground) >= 3 }).toEqual({ tone, ground, enough: true });
    expect(contrast(ink.light, paper.light)).toBeGreaterThan(7);
    expect(contrast(ink.dark, paper.dark)).toBeGreaterThan(7);
  });

  test("are not all that tells suites apart: each has a shape of its own", () => {
    const shapes = suiteNames.map((suite) => suiteLooks[suite].shape);
    expect(new Set(shapes).size).toBe(suiteNames.length);
  });

  test("are not all that tells operations apart: those of one colour differ in their marks", () => {
    const square = { left: 0, top: 0, width: 15, height: 15 };
    const fills = operations.map(
      (operation) => `${operationColor(operation)} ${hatchPath(operation, square)}`,
    );
    expect(new Set(fills).size).toBe(operations.length);
    const marks = operations.map((operation) => hatchPath(operation, square)).filter((path) => path !== "");
    expect(new Set(marks).size).toBe(7);
  });
});

describe("marks on a bar", () => {
  test("stay within it, whatever its size", () => {
    const random = seededRandom(20_260_101);
    for (let trial = 0; trial < 500; trial++) {
      const bar = { left: random() * 300, top: random() * 300, width: random() * 90, height: random() * 30 };
      for (const operation of operations)
        for (const { x, y } of points(hatchPath(operation, bar))) {
          const inside =
            x >= bar.left - 0.02 &&
            x <= bar.left + bar.width + 0.02 &&
            y >= bar.top - 0.02 &&
            y <= bar.top + bar.height + 0.02;
          expect({ operation, bar, x, y, inside }).toEqual({ operation, bar, x, y, inside: true });
        }
    }
  });

  test("are many on a long bar and none on one too small for them", () => {
    for (const operation of operations.filter((one) => !["file-read", "rest"].includes(one))) {
      const long = hatchPath(operation, { left: 0, top: 0, width: 200, height: 14 });
      // Strokes along the bar are as many as its height has room for, all others as its length has.
      expect(points(long).length).toBeGreaterThan(operation === "socket-write" ? 5 : 40);
      expect(hatchPath(operation, { left: 0, top: 0, width: 0.4, height: 14 })).toBe("");
    }
  });
});

/** Both ends of every stroke of path data that has M, l, h and v alone. */
function points(path: string): { x: number; y: number }[] {
  const found: { x: number; y: number }[] = [];
  let [x, y] = [0, 0];
  for (const [, command, numbers = ""] of path.matchAll(/([Mlhv])([^Mlhv]+)/g)) {
    const [first = 0, second = 0] = numbers.split(",").map(Number);
    if (command === "M") [x, y] = [first, second];
    else {
      x += command === "v" ? 0 : first;
      y += command === "v" ? first : command === "l" ? second : 0;
    }
    found.push({ x, y });
  }
  return found;
}

/** The contrast of two "#rrggbb" colours as WCAG 2.2 defines it, from 1 to 21. */
function contrast(one: string, other: string): number {
  const luminance = (color: string) => {
    const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
      const channel = Number.parseInt(color.slice(at, at + 2), 16) / 255;
      return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}
