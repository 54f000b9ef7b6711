/**
 * A bar for work that consists of runs: how many are done, which is under way, what is left. Redrawn in
 * place on a terminal, a line now and then if there is none.
 */
import { formatPercent, formatTimeLeft } from "./format.ts";
import { bar, cut, ellipsis, styleFor } from "./line.ts";
import type { Output } from "./output.ts";

export interface RunBarOptions {
  output: Output;
  env: Record<string, string | undefined>;
  size: () => { columns: number };
  nowMs: () => number;
}

export interface RunBarState {
  done: number;
  all: number;
  /** What is under way, in words. */
  label: string;
  leftMs: number | undefined;
}

const barColumns = 24;
/** Shortest time between two lines if there is no terminal. */
const plainLineMs = 10_000;
/** How often the time left is counted down. */
const redrawMs = 1000;

export class RunBar {
  readonly #options: RunBarOptions;
  readonly #redraws: boolean;
  #state: RunBarState | undefined;
  #printedAtMs: number;
  #stateAtMs: number;
  #drawn = false;
  #timer: Timer | undefined;

  constructor(options: RunBarOptions) {
    this.#options = options;
    this.#redraws = styleFor(options.env, options.output.isTTY).redraws;
    this.#printedAtMs = options.nowMs();
    this.#stateAtMs = this.#printedAtMs;
  }

  update(state: RunBarState): void {
    this.#state = state;
    const nowMs = this.#options.nowMs();
    this.#stateAtMs = nowMs;
    if (this.#redraws) {
      this.#draw();
      this.#timer ??= setInterval(() => this.#draw(), redrawMs);
    } else if (nowMs - this.#printedAtMs >= plainLineMs) {
      this.#printedAtMs = nowMs;
      this.#options.output.write(`${lineOf(state, state.leftMs)}\n`);
    }
  }

  /** Takes the bar off the screen. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#drawn) this.#options.output.write("\r\u001b[K");
    this.#drawn = false;
  }

  #draw(): void {
    const state = this.#state;
    if (state === undefined) return;
    const { output, env, size, nowMs } = this.#options;
    const { style } = styleFor(env, output.isTTY);
    const drawn = bar(style, "cyan", state.done / Math.max(1, state.all), barColumns);
    const left =
      state.leftMs === undefined ? undefined : Math.max(0, state.leftMs - (nowMs() - this.#stateAtMs));
    const room = size().columns - barColumns - 2;
    output.write(`\r${drawn} ${cut(lineOf(state, left), Math.max(0, room), ellipsis(style))}\u001b[K`);
    this.#drawn = true;
  }
}

function lineOf({ done, all, label }: RunBarState, leftMs: number | undefined): string {
  const left = leftMs === undefined ? "" : `, ${formatTimeLeft(leftMs)}`;
  return `${formatPercent(done, all).trim()}, run ${Math.min(all, done + 1)} of ${all}${left}: ${label}`;
}
