/**
 * The progress of running migrations as lines of text: for each session its phase, one bar a file,
 * one for all, and a line of rates. Pure: (state, size, style, now) -> lines.
 */
import type { FileProgress } from "../migration/report/events.ts";
import { printable } from "../protocol/printable.ts";
import { formatBytes, formatDuration, formatPercent, formatRate, formatTimeLeft } from "./format.ts";
import { bar, columnsOf, cut, ellipsis, padEnd, paint, type Style } from "./line.ts";
import { type ProgressState, type SessionView, timeLeftMs } from "./progress-state.ts";

export interface Canvas {
  /** Columns and rows of the terminal. */
  columns: number;
  rows: number;
  style: Style;
}

/** File bars on the screen at most, over all sessions. */
const mostFileBars = 6;
const widestBar = 40;
const narrowestBar = 4;
const widestLabel = 24;

/** The lines to show; none is wider than the canvas, and together they leave one row for the cursor. */
export function drawProgress(state: ProgressState, canvas: Canvas, nowMs: number): string[] {
  const room = Math.max(1, canvas.rows - 1);
  // First with all the bars that may be shown, then with fewer, until it fits the screen.
  for (let bars = mostFileBars; bars >= 0; bars -= 1) {
    const perSession = Math.floor(bars / Math.max(1, state.size));
    const lines = [...state.values()].flatMap((view) => sessionLines(view, canvas, perSession, nowMs));
    if (lines.length <= room) return lines;
  }
  const shown = [...state.values()].slice(0, Math.max(0, room - 1));
  const hidden = state.size - shown.length;
  const lines = shown.map((view) => cut(summaryOf(view, nowMs), canvas.columns - 1, ellipsis(canvas.style)));
  if (hidden > 0) lines.push(cut(`${ellipsis(canvas.style)} and ${hidden} more`, canvas.columns - 1, ""));
  return lines;
}

/** One session in one line, for logs and small screens: "web1: pre-copy, 45 %, 512.0 MiB of 1.3 GiB, …". */
export function summaryOf(view: SessionView, nowMs: number): string {
  const amount = `${formatBytes(view.doneBytes)} of ${formatBytes(view.bytes)}`;
  const percent = formatPercent(view.doneBytes, view.bytes).trim();
  return [
    `${printable(view.name)}: ${view.phase}`,
    percent,
    amount,
    ...factsOf(view, nowMs),
    ...ramFactsOf(view),
  ].join(", ");
}

function sessionLines(view: SessionView, canvas: Canvas, mostBars: number, nowMs: number): string[] {
  const { style } = canvas;
  const width = Math.max(1, canvas.columns - 1); // the last column stays free: some terminals wrap there
  const mark = ellipsis(style);
  const files = filesToShow(view.files, mostBars);
  const hidden = view.files.length - files.length;
  const labels = [...files.map((file) => printable(file.file)), "total"];
  const label = Math.min(widestLabel, Math.floor(width / 3), Math.max(...labels.map(columnsOf)));
  const bars = files.map((file) =>
    barLine({ name: printable(file.file), done: file.doneBytes, whole: file.bytes, label, width, style }),
  );
  if (hidden > 0 && mostBars > 0)
    bars.push(paint(style, "dim", cut(`  ${mark} and ${hidden} more`, width, mark)));
  const total = barLine({ name: "total", done: view.doneBytes, whole: view.bytes, label, width, style });
  const facts = factsOf(view, nowMs);
  const heading = cut(`${printable(view.name)}: ${view.phase}`, width, mark);
  const footer = flow(facts, width, mark);
  return [
    paint(style, "bold", heading),
    ...bars,
    total,
    ...flow(ramFactsOf(view), width, mark),
    ...(view.link === undefined ? footer : footer.map((line) => paint(style, "yellow", line))),
  ];
}

/** Facts in as many indented lines as they need, each cut if one fact alone is wider. */
function flow(facts: readonly string[], width: number, mark: string): string[] {
  const lines: string[] = [];
  for (const [at, fact] of facts.entries()) {
    const text = at < facts.length - 1 ? `${fact},` : fact;
    const last = lines.at(-1);
    if (last !== undefined && columnsOf(last) + 1 + columnsOf(text) <= width)
      lines[lines.length - 1] = `${last} ${text}`;
    else lines.push(`  ${text}`);
  }
  return lines.map((line) => cut(line, width, mark));
}

/** All files in order if they fit; otherwise those that are not through yet come first. */
function filesToShow(files: readonly FileProgress[], most: number): readonly FileProgress[] {
  if (files.length <= most) return files;
  const unfinished = files.filter((file) => file.doneBytes < file.bytes);
  const finished = files.filter((file) => file.doneBytes >= file.bytes);
  const chosen = new Set([...unfinished, ...finished].slice(0, most));
  return files.filter((file) => chosen.has(file));
}

function barLine(file: {
  name: string;
  done: number;
  whole: number;
  label: number;
  width: number;
  style: Style;
}): string {
  const { style } = file;
  const head = `  ${padEnd(cut(file.name, file.label, ellipsis(style)), file.label)}  `;
  const amount = `${formatBytes(file.done)} of ${formatBytes(file.whole)}`;
  const tail = `  ${formatPercent(file.done, file.whole)}  ${amount}`;
  // The bar's length must not depend on the digits of its own amount, or it would twitch.
  const room = Math.min(widestBar, file.width - columnsOf(head) - 9 - 25);
  if (room < narrowestBar) return cut(head + tail.slice(2), file.width, ellipsis(style));
  const part = file.whole <= 0 ? 1 : Math.min(1, file.done / file.whole);
  return head + bar(style, part >= 1 ? "green" : "cyan", part, room) + tail;
}

function factsOf(view: SessionView, nowMs: number): string[] {
  if (view.link !== undefined) {
    const inMs = view.link.retryAtMs - nowMs;
    const when =
      inMs > 0 ? `trying again in ${formatDuration(Math.ceil(inMs / 1000) * 1000)}` : "trying again";
    const attempt = view.link.attempt > 0 ? ` (attempt ${view.link.attempt})` : "";
    return [`link lost (${printable(view.link.message)})`, `${when}${attempt}`];
  }
  const facts: string[] = [];
  // How often RAM will be sent again is not known: only the rate on the wire means something.
  const isRam = ramFactsOf(view).length > 0;
  if (view.rateBytesPerSec !== undefined && !isRam) facts.push(formatRate(view.rateBytesPerSec));
  if (view.wireRateBytesPerSec !== undefined)
    facts.push(`on the wire ${formatRate(view.wireRateBytesPerSec)}`);
  if (view.mostBytesPerSec !== undefined) facts.push(`at most ${formatRate(view.mostBytesPerSec)}`);
  if (view.savedBytes > 0) facts.push(`saved ${formatBytes(view.savedBytes)}`);
  const left = timeLeftMs(view);
  if (left !== undefined) facts.push(formatTimeLeft(left));
  return facts;
}

/** What QEMU says of the RAM; what it expects while the guest runs says nothing once it stands still. */
function ramFactsOf({ ram, phase }: SessionView): string[] {
  if (ram === undefined || (phase !== "pre-copy" && phase !== "stop-and-copy")) return [];
  const facts = [`iteration ${ram.iteration}`, `${formatBytes(ram.remainingBytes)} left`];
  if (phase === "stop-and-copy") return facts;
  if (ram.dirtyBytesPerSec > 0)
    facts.push(
      `dirtying ${formatRate(ram.dirtyBytesPerSec)}`,
      `downtime expected ${formatDuration(ram.expectedDowntimeMs)}`,
    );
  if (ram.throttlePercent > 0) facts.push(`slowed by ${ram.throttlePercent} %`);
  return facts;
}
