/** The chart behind figures 6.1 to 6.4, for Vega-Lite: horizontal bars, a block for each size of RAM. Pure. */
import type { TopLevelSpec } from "vega-lite";
import { seconds } from "../notation/notation.ts";
import type { SideName } from "../statistics/cells.ts";
import type { Operation, SuiteName } from "../statistics/samples.ts";
import { type CpuBar, endMs } from "./cpu-bar.ts";
import { look, schema } from "./look.ts";
import { paperStroke } from "./palette.ts";

const barStepPx = 19;
const wholeWidthPx = 560;
const halfWidthPx = 270;
/** Beyond the longest bar, for what is written at its end. */
const roomForLabels = 1.34;

export interface BarChart {
  side: SideName;
  bars: readonly CpuBar[];
  suites: readonly SuiteName[];
  /** The suites that are drawn once more in a second panel, if the bars of the others are far longer. */
  near: readonly SuiteName[] | undefined;
  operations: readonly Operation[];
}

/** In place of a colour: the operation whose fill the bar gets when the drawing is framed (render.ts). */
export const hatched = "hatched:";

/** A row of the chart's data: a part of a bar, or (`label` is set) what stands at its end. */
interface Row {
  size: string;
  suite: SuiteName;
  operation?: Operation;
  from?: number;
  to?: number;
  label?: string;
  end?: number;
  low?: number;
  high?: number;
}

/** One panel with all suites, and a second one with a scale of its own if `near` asks for it. */
export function barChart(chart: BarChart): TopLevelSpec {
  const panels =
    chart.near === undefined
      ? panel(chart, chart.bars, wholeWidthPx, undefined)
      : {
          hconcat: [
            panel(chart, chart.bars, halfWidthPx, "All suites"),
            panel(chart, nearBars(chart), halfWidthPx, "Without the dearest"),
          ],
          spacing: 24,
        };
  return { $schema: schema, config: look, ...panels } as TopLevelSpec;
}

function nearBars({ bars, near = [] }: BarChart): CpuBar[] {
  return bars.filter(({ suite }) => near.includes(suite));
}

function panel(chart: BarChart, bars: readonly CpuBar[], widthPx: number, title: string | undefined) {
  const isFirst = bars === chart.bars;
  const sizes = [...new Set(chart.bars.map(({ size }) => size))];
  // The library places these labels by their number of letters: so all get the same number, by spaces as
  // wide as digits. It trims labels: so a character without width comes first.
  const letters = Math.max(...sizes.map(({ length }) => length));
  const labelExpr = `'\\u200b' + pad(datum.label, ${letters}, '\\u2007', 'left')`;
  const header = { labelExpr, labelAngle: 0, labelAlign: "left", labelOrient: "left", labelPadding: 8 };
  return {
    data: { values: bars.flatMap((bar) => rowsOf(bar)) },
    ...(title === undefined ? {} : { title }),
    facet: {
      row: { field: "size", type: "nominal", sort: sizes, title: null, header: isFirst ? header : null },
    },
    spacing: 10,
    spec: { width: widthPx, height: { step: barStepPx }, layer: layers(chart, bars, isFirst) },
  };
}

function layers(chart: BarChart, bars: readonly CpuBar[], isFirst: boolean) {
  const { side, near, suites } = chart;
  const longest = Math.max(...bars.map(endMs)) / 1000;
  const y = {
    field: "suite",
    type: "nominal",
    scale: { domain: suites, paddingInner: 0.25, paddingOuter: 0.12 },
    axis: isFirst ? { title: null, ticks: false, domain: false, labelPadding: 6 } : null,
  };
  const x = {
    type: "quantitative",
    scale: { domain: [0, longest * roomForLabels], nice: false },
    axis: { title: `CPU time of the ${side}, s`, tickCount: near === undefined ? 7 : 4 },
  };
  const whisker = (mark: object, encoding: object) => ({
    transform: [{ filter: "isValid(datum.high)" }],
    mark: { color: "currentColor", ...mark },
    encoding: { y, ...encoding },
  });
  const cap = { type: "tick", thickness: 1.3, size: 7 };
  return [
    {
      transform: [{ filter: "isValid(datum.operation)" }],
      mark: { type: "bar", stroke: "currentColor", strokeWidth: 0.5 },
      encoding: { y, x: { ...x, field: "from" }, x2: { field: "to" }, fill: fillOf(chart) },
    },
    whisker(
      { type: "rule", strokeWidth: 4.5, color: paperStroke },
      { x: { ...x, field: "low" }, x2: { field: "high" } },
    ),
    whisker({ type: "rule", strokeWidth: 1.3 }, { x: { ...x, field: "low" }, x2: { field: "high" } }),
    whisker(cap, { x: { ...x, field: "low" } }),
    whisker(cap, { x: { ...x, field: "high" } }),
    {
      transform: [{ filter: "isValid(datum.label)" }],
      mark: { type: "text", align: "left", baseline: "middle", dx: 6 },
      encoding: { y, x: { ...x, field: "end" }, text: { field: "label", type: "nominal" } },
    },
  ];
}

function fillOf({ operations }: BarChart) {
  return {
    field: "operation",
    type: "nominal",
    scale: {
      domain: operations,
      range: operations.map((operation) => `${hatched}${operation}`),
    },
    legend: {
      title: null,
      orient: "top",
      direction: "horizontal",
      columns: 5,
      symbolType: "square",
      symbolSize: 220,
      symbolStrokeColor: "currentColor",
      symbolStrokeWidth: 0.6,
      offset: 8,
    },
  };
}

function rowsOf(bar: CpuBar): Row[] {
  const { size, suite } = bar;
  const parts: Row[] = [];
  let fromMs = 0;
  for (const { operation, meanMs } of bar.parts) {
    const toMs = fromMs + meanMs;
    if (meanMs > 0) parts.push({ size, suite, operation, from: fromMs / 1000, to: toMs / 1000 });
    fromMs = toMs;
  }
  const label: Row = { size, suite, label: `${seconds(bar.totalMs)} s`, end: endMs(bar) / 1000 };
  if (bar.interval === undefined) return [...parts, label];
  // A time is never below 0, whatever the formula of the interval yields.
  const low = Math.max(0, bar.interval.low) / 1000;
  return [...parts, { ...label, low, high: bar.interval.high / 1000 }];
}
