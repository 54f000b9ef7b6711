/** The report and its figures as a real browser shows them. Needs Chromium, which it installs where it is missing. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import type { Drawing } from "../../../src/profiler/figures/figure.ts";
import { figuresOf } from "../../../src/profiler/figures/figures.ts";
import { ink, paper } from "../../../src/profiler/figures/palette.ts";
import { drawFigure } from "../../../src/profiler/figures/render.ts";
import { reportHtml } from "../../../src/profiler/report/report-html.ts";
import type { Samples } from "../../../src/profiler/statistics/samples.ts";
import { syntheticSamples } from "../../support/files/synthetic-samples.ts";
import { openChromium, openFile, type WatchedPage } from "../../support/system/chromium.ts";

const evil = `<script>document.title="run"</script><img src="http://127.0.0.1:9/" onerror='alert(1)'>`;
const all = ["insecure", "tls", "aes-128", "rc4", "3des", "aes-128-gcm", "chacha20-poly1305"] as const;

/** What a thesis run, a run with everything, a quick one and one full of bad words give. */
const profiles: Readonly<Record<string, Samples>> = {
  thesis: syntheticSamples(),
  wide: syntheticSamples({ suites: all, linkBytesPerSec: 1e10, noise: 0.1 }),
  quick: syntheticSamples({ ramMiB: [64], diskMiB: [0], runs: 3, partial: true }),
  hostile: syntheticSamples({
    ramMiB: [0.3, 1],
    diskMiB: [1.7],
    environment: { cpu: evil, kernel: evil, bun: evil, migrate: evil, link: evil },
  }),
};
const names = Object.keys(profiles);

let browser: Browser;
let folder = "";
const drawings = new Map<string, Drawing[]>();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "migrate-report-"));
  for (const [name, samples] of Object.entries(profiles)) {
    const drawn: Drawing[] = [];
    for (const figure of figuresOf(samples)) drawn.push(await drawFigure(figure));
    drawings.set(name, drawn);
    writeFileSync(join(folder, `${name}.html`), reportHtml(samples, drawn));
    for (const { figure, file } of drawn) writeFileSync(join(folder, `${name}-${figure.id}.svg`), file);
  }
  browser = await openChromium();
});

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Opens a file of the folder, lets it be looked at, and expects that it kept quiet and to itself. */
async function show(
  file: string,
  look: { colorScheme?: "light" | "dark"; widthPx?: number },
  see: (page: WatchedPage["page"]) => Promise<void>,
): Promise<void> {
  const watched = await openFile(browser, join(folder, file), look);
  try {
    await see(watched.page);
    expect({ complaints: watched.complaints, requests: watched.requests }).toEqual({
      complaints: [],
      requests: [],
    });
  } finally {
    await watched.close();
  }
}

interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

interface SeenFigure {
  id: string;
  box: Box;
  texts: { text: string; box: Box }[];
  /** Its bars, lines and points. */
  marks: number;
}

/** Every figure of a page with the boxes of its texts, in the page's pixels. Runs in the browser. */
const seeFigures = `(() => {
  const boxOf = (element) => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    return { left: left + scrollX, top: top + scrollY, right: right + scrollX, bottom: bottom + scrollY };
  };
  return [...document.querySelectorAll("svg.figure-drawing")].map((svg) => ({
    id: svg.id,
    box: boxOf(svg),
    texts: [...svg.querySelectorAll("text")].filter((text) => text.textContent.trim() !== "")
      .map((text) => ({ text: text.textContent, box: boxOf(text) })),
    marks: svg.querySelectorAll(".role-mark path, .role-mark line").length,
  }));
})()`;

const inside = (inner: Box, outer: Box) =>
  inner.left >= outer.left - 0.5 &&
  inner.top >= outer.top - 0.5 &&
  inner.right <= outer.right + 0.5 &&
  inner.bottom <= outer.bottom + 0.5;

/** By more than a hair's breadth: the boxes of letters have air around them. */
const overlap = (one: Box, other: Box) =>
  Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1.5 &&
  Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 4;

for (const name of names)
  describe(`the report of the ${name} profile`, () => {
    test("shows every figure whole, with no two texts on each other", async () => {
      await show(`${name}.html`, {}, async (page) => {
        const seen = await page.evaluate<SeenFigure[]>(seeFigures);
        expect(seen.map(({ id }) => id)).toEqual(drawings.get(name)?.map(({ figure }) => figure.id) ?? []);
        expect(seen.length).toBeGreaterThanOrEqual(3);
        for (const { id, box, texts, marks } of seen) {
          expect({ id, wide: box.right - box.left > 500, high: box.bottom - box.top > 100 }).toEqual({
            id,
            wide: true,
            high: true,
          });
          expect(inside(box, { left: 0, top: 0, right: 1280, bottom: 1e6 })).toBe(true);
          expect(marks).toBeGreaterThan(3);
          expect(texts.length).toBeGreaterThan(8);
          const cut = texts.filter((text) => !inside(text.box, box)).map(({ text }) => text);
          const clashes = texts.flatMap((one, place) =>
            texts
              .slice(place + 1)
              .filter((other) => overlap(one.box, other.box))
              .map((other) => `${one.text} / ${other.text}`),
          );
          expect({ id, cut, clashes }).toEqual({ id, cut: [], clashes: [] });
        }
      });
    });

    test("names every figure to those who do not see it, and opens its numbers without a script", async () => {
      await show(`${name}.html`, {}, async (page) => {
        for (const { figure } of drawings.get(name) ?? []) {
          const picture = page.getByRole("img", { name: figure.title });
          expect(await picture.count()).toBe(1);
          const numbers = page.locator(`#table-${figure.table.id}`);
          expect(await numbers.isVisible()).toBe(false);
          await page.locator("figure", { has: picture }).locator("summary").click();
          expect(await numbers.isVisible()).toBe(true);
        }
      });
    });

    test("is never wider than the screen, however narrow", async () => {
      for (const widthPx of [320, 400, 768, 1280])
        await show(`${name}.html`, { widthPx }, async (page) => {
          await page.evaluate(`document.querySelectorAll("details").forEach((one) => { one.open = true; })`);
          const width = await page.evaluate<number>("document.documentElement.scrollWidth");
          expect({ widthPx, width }).toEqual({ widthPx, width: widthPx });
        });
    });

    test("is printed: on pages that nothing runs out of, and in a file of a sane size", async () => {
      // 182 mm, what is left of A4 between the margins.
      await show(`${name}.html`, { widthPx: 688 }, async (page) => {
        await page.emulateMedia({ media: "print" });
        const width = await page.evaluate<number>("document.documentElement.scrollWidth");
        expect(width).toBeLessThanOrEqual(688);
        const seen = await page.evaluate<SeenFigure[]>(seeFigures);
        for (const { id, box } of seen) expect({ id, right: box.right <= 688 }).toEqual({ id, right: true });
        const pdf = await page.pdf({ format: "A4", preferCSSPageSize: true });
        expect(pdf.subarray(0, 5).toString()).toBe("%PDF-");
        const pages = pdf.toString("latin1").match(/\/Type\s*\/Page\b/g)?.length ?? 0;
        expect(pages).toBeGreaterThan(2);
        expect(pages).toBeLessThan(25);
        expect(pdf.length).toBeLessThan(2 * 1024 * 1024);
      });
    });
  });

/** Colours as the browser gives them: "rgb(27, 31, 36)". */
function rgb(color: string): string {
  return `rgb(${[1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16)).join(", ")})`;
}

/** The paper and the ink of the page and of its first figure; empty for what is not there. Runs in the browser. */
const seeColours = `(() => {
  const style = (selector, name) => {
    const element = document.querySelector(selector);
    return element === null ? "" : getComputedStyle(element).getPropertyValue(name);
  };
  return {
    page: style("html", "background-color"),
    text: style("h1", "color"),
    paper: style(".figure-paper", "fill"),
    letters: style(".figure-drawing text", "fill"),
    edge: style(".figure-edge", "stroke"),
  };
})()`;

for (const colorScheme of ["light", "dark"] as const)
  describe(`in the ${colorScheme}`, () => {
    const [ground, letters] = [rgb(paper[colorScheme]), rgb(ink[colorScheme])];

    test("the report and its figures have that paper and that ink", async () => {
      await show("thesis.html", { colorScheme }, async (page) => {
        expect(await page.evaluate<unknown>(seeColours)).toEqual({
          page: ground,
          text: letters,
          paper: ground,
          letters,
          edge: ground,
        });
      });
    });

    test("a figure's own file has them too, and all its parts are visible", async () => {
      for (const { figure } of drawings.get("thesis") ?? [])
        await show(`thesis-${figure.id}.svg`, { colorScheme }, async (page) => {
          expect(await page.evaluate<unknown>(seeColours)).toMatchObject({ paper: ground, letters });
          const [seen] = await page.evaluate<SeenFigure[]>(seeFigures);
          expect(seen?.texts.length).toBeGreaterThan(8);
          for (const { box } of seen?.texts ?? []) expect(inside(box, seen!.box)).toBe(true);
        });
    });
  });

test("on paper the report is light, whatever the screen is", async () => {
  await show("thesis.html", { colorScheme: "dark" }, async (page) => {
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    expect(await page.evaluate<Record<string, string>>(seeColours)).toMatchObject({
      text: rgb(ink.light),
      paper: rgb(paper.light),
      letters: rgb(ink.light),
    });
  });
});

test("what a host says of itself is text to the browser, and nothing else", async () => {
  await show("hostile.html", {}, async (page) => {
    expect(await page.title()).toContain("<script>");
    expect(await page.locator("dd", { hasText: evil }).count()).toBe(5);
    expect(await page.evaluate<number>(`document.querySelectorAll("script, img, iframe").length`)).toBe(0);
  });
});
