/** The charts of total migration times for Vega-Lite: the mean of each suite at each size of RAM. Pure. */
import type { TopLevelSpec } from "vega-lite";
import { seconds } from "../notation/notation.ts";
import type { SuiteName } from "../statistics/samples.ts";
import type { Interval } from "../statistics/statistics.ts";
import { look, schema } from "./look.ts";
import { suiteLooks } from "./palette.ts";

/** One point: the mean of a cell's runs, in ms. */
export interface TimePoint {
  suite: SuiteName;
  ramMiB: number;
  runs: number;
  meanMs: number;
  interval: Interval | undefined;
}

export interface TimeChart {
  points: readonly TimePoint[];
  suites: readonly SuiteName[];
  logarithmic: boolean;
}

const widthPx = 560;
const lineHeightPx = 340;
const pointStepPx = 30;
/** Between the points of two suites at one size, so that their whiskers stand side by side. */
const dodgePx = 6;
/** Beyond the longest time, for what is written beside it. */
const roomForLabels = 1.15;

/** Lines over the sizes of RAM, or points if there is a single size. */
export function timeChart(chart: TimeChart): TopLevelSpec {
  const sizes = new Set(chart.points.map(({ ramMiB }) => ramMiB));
  return sizes.size > 1 ? lineChart(chart) : pointChart(chart);
}

/** Lines over at least two sizes of RAM, with points and whiskers. */
function lineChart(chart: TimeChart): TopLevelSpec {
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
    height: lineHeightPx,
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
      axis: timeAxis(logarithmic),
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

/** A point and a whisker a suite, at a single size of RAM. From 0 seconds on, or logarithmic. */
function pointChart({ points, suites, logarithmic }: TimeChart): TopLevelSpec {
  const values = points.map(({ suite, meanMs, interval }) => ({
    suite,
    time: meanMs / 1000,
    label: `${seconds(meanMs)} s`,
    end: (interval?.high ?? meanMs) / 1000,
    ...(interval && { low: Math.max(0, interval.low) / 1000, high: interval.high / 1000 }),
  }));
  const least = Math.min(...values.map(({ low, time }) => low ?? time));
  const most = Math.max(...values.map(({ end }) => end));
  const y = {
    field: "suite",
    type: "nominal",
    scale: { domain: suites },
    axis: { title: null, ticks: false, domain: false, labelPadding: 8 },
  };
  const x = {
    type: "quantitative",
    scale: {
      type: logarithmic ? "log" : "linear",
      nice: false,
      domain: logarithmic ? [least / 1.3, most * 1.5] : [0, most * roomForLabels],
    },
    axis: timeAxis(logarithmic),
  };
  const of = (look: "color" | "shape") => ({
    field: "suite",
    type: "nominal",
    scale: { domain: suites, range: suites.map((suite) => suiteLooks[suite][look]) },
    legend: null,
  });
  const color = of("color");
  const whisker = (mark: object, encoding: object) => ({
    transform: [{ filter: "isValid(datum.high)" }],
    mark,
    encoding: { y, color, ...encoding },
  });
  const cap = { type: "tick", size: 8, thickness: 1.4 };
  const spec = {
    $schema: schema,
    config: look,
    width: widthPx,
    height: { step: pointStepPx },
    data: { values },
    layer: [
      whisker({ type: "rule", strokeWidth: 1.4 }, { x: { ...x, field: "low" }, x2: { field: "high" } }),
      whisker(cap, { x: { ...x, field: "low" } }),
      whisker(cap, { x: { ...x, field: "high" } }),
      {
        mark: { type: "point", filled: true, size: 80, opacity: 1 },
        encoding: { y, x: { ...x, field: "time" }, color, shape: of("shape") },
      },
      {
        mark: { type: "text", align: "left", baseline: "middle", dx: 10 },
        encoding: { y, x: { ...x, field: "end" }, text: { field: "label", type: "nominal" } },
      },
    ],
  };
  return spec as TopLevelSpec;
}

function timeAxis(logarithmic: boolean) {
  return {
    title: `Total migration time, s${logarithmic ? ", logarithmic" : ""}`,
    tickCount: 6,
    format: "~f",
  };
}
