/** What all charts have in common. Pure. */
import type { Config } from "vega-lite";

/** Lines and letters in `currentColor`, which each place that shows the figure sets for light and dark. */
export const look: Config = {
  aria: false,
  background: "transparent",
  font: "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif",
  padding: { left: 12, right: 16, top: 12, bottom: 12 },
  view: { stroke: null },
  axis: {
    domainColor: "currentColor",
    gridColor: "currentColor",
    gridOpacity: 0.13,
    labelColor: "currentColor",
    labelFontSize: 12,
    tickColor: "currentColor",
    titleColor: "currentColor",
    titleFontSize: 12,
    titleFontWeight: 600,
    labelLimit: 260,
  },
  header: { labelColor: "currentColor", labelFontSize: 12, labelFontWeight: 600, labelLimit: 260 },
  legend: {
    labelColor: "currentColor",
    labelFontSize: 12,
    labelLimit: 260,
    titleColor: "currentColor",
    titleFontSize: 12,
  },
  text: { fill: "currentColor", fontSize: 11.5 },
  title: { color: "currentColor", fontSize: 12, fontWeight: 600, anchor: "start" },
};

/** Of the charts' language, for those who want to change a figure with other tools. */
export const schema = "https://vega.github.io/schema/vega-lite/v6.json";
