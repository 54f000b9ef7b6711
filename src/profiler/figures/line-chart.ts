/** The chart of total migration times, for Vega-Lite: lines with points and whiskers. Pure. */
import type { TopLevelSpec } from "vega-lite";
import type { SuiteName } from "../statistics/samples.ts";
import { look, schema } from "./look.ts";
import { suiteLooks } from "./palette.ts";
import type { TimeChart } from "./time-points.ts";

const widthPx = 560;
const heightPx = 340;
/** Between the points of two suites at one size, so that their whiskers stand side by side. */
const dodgePx = 6;

/** Takes at least two sizes. */
export function lineChart(chart: TimeChart): TopLevelSpec {
  const { x, y } = scales(chart);
  const { color, shape, strokeDash } = looks(chart.suites);
  const xOffset = { expr: "datum.dodge" };
  const whisker = (mark: object, encoding: object) => ({
    transform: [{ filter: "isValid(datum.high)" }],
    mark: { xOffset, ...mark },
    encoding: { x, color, ...encoding },
  });
  const cap = { type: "tick", orient: "horizontal", size: 6, thickness: 1.4 };
  const spec = {
    $schema: schema,
    config: look,
    width: widthPx,
    height: heightPx,
    data: { values: rowsOf(chart) },
    layer: [
      {
        mark: { type: "line", xOffset, strokeWidth: 1.5 },
        encoding: { x, y: { ...y, field: "time" }, color, strokeDash },
      },
      whisker({ type: "rule", strokeWidth: 1.4 }, { y: { ...y, field: "low" }, y2: { field: "high" } }),
      whisker(cap, { y: { ...y, field: "low" } }),
      whisker(cap, { y: { ...y, field: "high" } }),
      {
        mark: { type: "point", xOffset, filled: true, size: 70, opacity: 1 },
        encoding: { x, y: { ...y, field: "time" }, color, shape },
      },
    ],
  };
  return spec as TopLevelSpec;
}

function rowsOf({ points, suites }: TimeChart) {
  return points.map(({ suite, ramMiB, meanMs, interval }) => ({
    suite,
    ram: ramMiB,
    time: meanMs / 1000,
    dodge: (suites.indexOf(suite) - (suites.length - 1) / 2) * dodgePx,
    ...(interval && { low: Math.max(0, interval.low) / 1000, high: interval.high / 1000 }),
  }));
}

function scales({ points, logarithmic }: TimeChart) {
  const sizes = [...new Set(points.map(({ ramMiB }) => ramMiB))];
  const smallest = Math.min(...sizes);
  const largest = Math.max(...sizes);
  const shortest = Math.min(...points.map(({ meanMs, interval }) => interval?.low ?? meanMs)) / 1000;
  const longest = Math.max(...points.map(({ meanMs, interval }) => interval?.high ?? meanMs)) / 1000;
  const type = logarithmic ? "log" : "linear";
  const domain = logarithmic ? [smallest / 1.25, largest * 1.25] : [0, largest * 1.1];
  return {
    x: {
      field: "ram",
      type: "quantitative",
      scale: {
        type,
        nice: false,
        domain: domain,
      },
      axis: { title: "RAM size, MiB", values: sizes, format: "~f", grid: false, labelOverlap: true },
    },
    y: {
      type: "quantitative",
      scale: {
        type,
        nice: false,
        domain: logarithmic ? [shortest / 1.3, longest * 1.3] : [0, longest * 1.08],
      },
      axis: {
        title: `Total migration time, s${logarithmic ? ", logarithmic" : ""}`,
        tickCount: 6,
        format: "~f",
      },
    },
  };
}

/** The same domain for all three, so that one legend shows colour, dash and shape together. */
function looks(suites: readonly SuiteName[]) {
  const of = (look: "color" | "shape" | "dash", legend: object | null) => ({
    field: "suite",
    type: "nominal",
    scale: { domain: suites, range: suites.map((suite) => suiteLooks[suite][look]) },
    legend,
  });
  const legend = { title: null, orient: "right", symbolSize: 110, symbolOpacity: 1, offset: 14 };
  return { color: of("color", legend), shape: of("shape", legend), strokeDash: of("dash", legend) };
}
