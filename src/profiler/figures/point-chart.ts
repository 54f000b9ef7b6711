/** The chart of total migration times at a single size of RAM, for Vega-Lite: a point and a whisker a suite. Pure. */
import type { TopLevelSpec } from "vega-lite";
import { seconds } from "../notation/notation.ts";
import { look, schema } from "./look.ts";
import { suiteLooks } from "./palette.ts";
import type { TimeChart } from "./time-points.ts";

const widthPx = 560;
const stepPx = 30;
/** Beyond the longest time, for what is written beside it. */
const roomForLabels = 1.15;

/** From 0 seconds on, or logarithmic. */
export function pointChart({ points, suites, logarithmic }: TimeChart): TopLevelSpec {
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
    axis: {
      title: `Total migration time, s${logarithmic ? ", logarithmic" : ""}`,
      tickCount: 6,
      format: "~f",
    },
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
    height: { step: stepPx },
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
