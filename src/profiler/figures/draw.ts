/** Draws all figures of a profile. */
import type { Samples } from "../samples.ts";
import type { Drawing } from "./figure.ts";
import { figuresOf } from "./figures.ts";

/**
 * The drawings of all figures that these samples have data for, in reading order: for files of their own
 * (`figure.id` and `file`) and for reportHtml. The charting library is loaded with the first call: half a
 * second for all figures of a thesis run.
 */
export async function drawFigures(samples: Samples): Promise<Drawing[]> {
  const { drawFigure } = await import("./render.ts");
  const drawings: Drawing[] = [];
  for (const figure of figuresOf(samples)) drawings.push(await drawFigure(figure));
  return drawings;
}
