/**
 * What operations' bars are filled with: a colour and white marks on it, so that colour is not all that
 * tells them apart. The marks are drawn one by one: browsers turn an SVG `<pattern>` into large bitmaps
 * when they print, and other programs do not know it at all. Pure.
 */
import type { Operation } from "../statistics/samples.ts";

/** A rectangle in pixels, from its upper left corner. */
export interface Rectangle {
  left: number;
  top: number;
  width: number;
  height: number;
}

type Marks = "none" | "rising" | "falling" | "crossed" | "upright" | "level" | "dots" | "plus";

/**
 * The colours follow Okabe and Ito's set, in tones between black and white. An operation and its
 * counterpart on the other side share a colour and differ in their marks.
 */
const fills: Readonly<Record<Operation, { color: string; marks: Marks }>> = {
  "file-read": { color: "#2f83b7", marks: "none" },
  "file-write": { color: "#2f83b7", marks: "upright" },
  encrypt: { color: "#d55e00", marks: "rising" },
  decrypt: { color: "#d55e00", marks: "falling" },
  mac: { color: "#ad5a93", marks: "dots" },
  verify: { color: "#ad5a93", marks: "plus" },
  "socket-write": { color: "#00845f", marks: "level" },
  "socket-read": { color: "#00845f", marks: "crossed" },
  rest: { color: "#7b7f86", marks: "none" },
};

/** The colour below an operation's marks. */
export function operationColor(operation: Operation): string {
  return fills[operation].color;
}

const strokePx = 1.5;
const stepPx = 8;
const dotPx = 3.4;
const armPx = 2.2;

/** Path data of an operation's marks within a rectangle; empty if it has none or is too small for any. */
export function hatchPath(operation: Operation, rectangle: Rectangle): string {
  const { marks } = fills[operation];
  // Away from the edge by half a stroke, so that no end shows outside.
  const inner = {
    left: rectangle.left + strokePx / 2,
    top: rectangle.top + strokePx / 2,
    width: rectangle.width - strokePx,
    height: rectangle.height - strokePx,
  };
  return inner.width <= 0 || inner.height <= 0 ? "" : (painters[marks]?.(inner) ?? "");
}

/** How thick the marks' strokes are, and how they end: a dot is a stroke without length. */
export function hatchStroke(operation: Operation): { widthPx: number; cap: "butt" | "round" } {
  return fills[operation].marks === "dots"
    ? { widthPx: dotPx, cap: "round" }
    : { widthPx: strokePx, cap: "butt" };
}

const painters: Readonly<Partial<Record<Marks, (area: Rectangle) => string>>> = {
  rising: (area) => diagonals(area, "rising"),
  falling: (area) => diagonals(area, "falling"),
  crossed: (area) => diagonals(area, "rising") + diagonals(area, "falling"),
  upright: ({ left, top, width, height }) =>
    places(width, stepPx / 2)
      .map((at) => `M${px(left + at)},${px(top)}v${px(height)}`)
      .join(""),
  level: ({ left, top, width, height }) =>
    places(height, 5)
      .map((at) => `M${px(left)},${px(top + at)}h${px(width)}`)
      .join(""),
  dots: (area) => grid(area, (x, y) => `M${px(x)},${px(y)}h0`),
  plus: (area) =>
    grid(area, (x, y) => `M${px(x - armPx)},${px(y)}h${2 * armPx}M${px(x)},${px(y - armPx)}v${2 * armPx}`),
};

/** Lines at 45 degrees, cut off at the area's edges. */
function diagonals({ left, top, width, height }: Rectangle, way: "rising" | "falling"): string {
  const lines: string[] = [];
  // Each begins on the lower (rising) or upper edge, `from` pixels to the right of the corner.
  for (let from = stepPx / 2 - Math.ceil(height / stepPx) * stepPx; from < width; from += stepPx) {
    const start = Math.max(0, -from);
    const length = Math.min(height, width - from) - start;
    if (length < 1) continue;
    const y = way === "rising" ? top + height - start : top + start;
    lines.push(
      `M${px(left + from + start)},${px(y)}l${px(length)},${px(way === "rising" ? -length : length)}`,
    );
  }
  return lines.join("");
}

/** What `paint` draws around points that have room on all sides. */
function grid({ left, top, width, height }: Rectangle, paint: (x: number, y: number) => string): string {
  return places(width, stepPx - 1)
    .filter((x) => x >= armPx && x <= width - armPx)
    .flatMap((x) =>
      places(height, stepPx - 1)
        .filter((y) => y >= armPx && y <= height - armPx)
        .map((y) => paint(left + x, top + y)),
    )
    .join("");
}

/** Distances from the start of a length, a step apart, with half a step in front. */
function places(length: number, step: number): number[] {
  const count = Math.max(0, Math.floor((length + step / 2) / step));
  return Array.from({ length: count }, (_, index) => step / 2 + index * step).filter((at) => at <= length);
}

/** Hundredths of a pixel are enough. */
function px(value: number): string {
  return String(Number(value.toFixed(2)) + 0);
}
