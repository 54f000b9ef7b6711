/**
 * Draws figures as SVG, with Vega-Lite and without a browser. Equal figures give equal text. Import this
 * file only where a figure is drawn (`await import`): the library behind it takes 50 ms to be read.
 */
import { type Loader, type LoggerInterface, parse, View } from "vega";
import { compile } from "vega-lite";
import { MigrateError } from "../../protocol/errors.ts";
import { escapeMarkup } from "../notation/markup.ts";
import { operations } from "../statistics/samples.ts";
import { hatched } from "./bar-chart.ts";
import type { Drawing, Figure } from "./figure.ts";
import { hatchPath, hatchStroke, operationColor } from "./hatch.ts";
import { figureStyle, ink, paper, paperStroke } from "./palette.ts";

/**
 * Draws one figure. Throws MigrateError "bug" for a chart that the library warns of: it would not look as it
 * was meant to.
 */
export async function drawFigure(figure: Figure): Promise<Drawing> {
  const complaints: string[] = [];
  const logger = collectingLogger(complaints);
  const { spec } = compile(figure.spec, { logger });
  const view = new View(parse(spec), { renderer: "none", logger, loader: closedLoader });
  const drawn = await view.toSVG();
  view.finalize();
  if (complaints.length > 0) throw new MigrateError("bug", `${figure.id}: ${complaints.join("; ")}`);
  return framed(figure, drawn);
}

/** The library's drawing in a frame of ours: names for screen readers, patterns, paper, no numbers of 17 digits. */
function framed(figure: Figure, drawn: string): Drawing {
  const match = /^<svg [^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>([\s\S]*)<\/svg>$/.exec(drawn);
  const [, width = "", height = "", body = ""] = match ?? [];
  if (body === "") throw new MigrateError("bug", `${figure.id}: the drawing is not what was expected`);
  const { id, title, description } = figure;
  const open = [
    `<svg xmlns="http://www.w3.org/2000/svg" class="figure-drawing" id="${id}" role="img"`,
    `aria-labelledby="${id}-title ${id}-desc" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" color="${ink.light}">`,
  ].join(" ");
  const names = `<title id="${id}-title">${escapeMarkup(title)}</title><desc id="${id}-desc">${escapeMarkup(description)}</desc>`;
  const ground = `<rect class="figure-paper" width="${width}" height="${height}" fill="${paper.light}"/>`;
  const inked = body.replaceAll(`stroke="${paperStroke}"`, `class="figure-edge" stroke="${paper.light}"`);
  const content = `${names}${ground}${shortNumbers(withHatches(id, withoutRoles(inked)))}</svg>\n`;
  return {
    figure,
    svg: `${open}${content}`,
    file: `<?xml version="1.0" encoding="UTF-8"?>\n${open}<style>${figureStyle}</style>${content}`,
    widthPx: Number(width),
    heightPx: Number(height),
  };
}

/** Bars and the legend's squares that name an operation in place of a colour: its colour, its marks, and the outline above them. */
function withHatches(id: string, markup: string): string {
  const number = "(-?[\\d.]+(?:e-\\d+)?)";
  const box = new RegExp(
    `<path ([^>]*)d="M${number},${number}h${number}v${number}h-?[^Z"]*Z" fill="${hatched}([a-z-]+)"([^>]*)/>`,
    "g",
  );
  const filled = markup.replace(box, (_, before, left, top, width, height, name, after) => {
    const operation = operations.find((one) => one === name);
    if (operation === undefined) throw new MigrateError("bug", `${id}: there is no operation ${name}`);
    const rectangle = { left: Number(left), top: Number(top), width: Number(width), height: Number(height) };
    const outline = `d="M${left},${top}h${width}v${height}h-${width}Z"`;
    const marks = hatchPath(operation, rectangle);
    const { widthPx, cap } = hatchStroke(operation);
    const hatch = `<path ${before}d="${marks}" fill="none" stroke="#fff" stroke-width="${widthPx}" stroke-linecap="${cap}"/>`;
    return [
      `<path ${before}${outline} fill="${operationColor(operation)}"/>`,
      marks === "" ? "" : hatch,
      `<path ${before}${outline} fill="none"${after}/>`,
    ].join("");
  });
  if (filled.includes(hatched)) throw new MigrateError("bug", `${id}: a bar is no rectangle`);
  return filled;
}

/** To a screen reader the drawing is one picture: roles within it would only be in the way. */
function withoutRoles(markup: string): string {
  return markup.replace(/ (?:role|aria-[a-z]+)="[^"]*"/g, "");
}

/** Hundredths of a pixel are enough; more only differ from processor to processor. */
function shortNumbers(markup: string): string {
  return markup.replace(/ (?:d|transform|x2|y2)="[^"]*"/g, (attribute) =>
    attribute.replace(/-?\d+\.\d{3,}(?:e-\d+)?/g, (number) => String(Number(Number(number).toFixed(2)) + 0)),
  );
}

function collectingLogger(complaints: string[]): LoggerInterface {
  const collect = (...words: readonly unknown[]) => {
    complaints.push(words.join(" "));
    return logger;
  };
  const logger: LoggerInterface = {
    level: (() => logger) as LoggerInterface["level"],
    error: collect,
    warn: collect,
    info: () => logger,
    debug: () => logger,
  };
  return logger;
}

/** Figures have all their data within: nothing is ever fetched or read. */
const closedLoader: Loader = { load: refuse, sanitize: refuse, http: refuse, file: refuse };

function refuse(uri: string): Promise<never> {
  return Promise.reject(new MigrateError("bug", `a chart asks for ${uri}`));
}
