/**
 * The part of the screen that is redrawn in place, with plain ANSI (ECMA-48: CUU, EL, ED). It sits
 * below everything else: whoever prints a line does it through `above`.
 */
import type { Style } from "./line.ts";
import { columnsOf } from "./line.ts";
import type { Output } from "./output.ts";
import { drawProgress } from "./progress.ts";
import { noProgress, type ProgressState } from "./progress-state.ts";

/** Shortest time between two drawings: ten a second. */
const redrawMs = 100;
/** How often the countdown is redrawn while a link is down. */
const countdownMs = 1000;

export interface ProgressDisplayOptions {
  output: Output;
  /** The terminal's size now; asked at every drawing, so that a resize needs no event. */
  size: () => { columns: number; rows: number };
  style: Style;
  nowMs: () => number;
}

export class ProgressDisplay {
  readonly #options: ProgressDisplayOptions;
  #state: ProgressState = noProgress;
  #widths: number[] = [];
  #drawnAtMs = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: ProgressDisplayOptions) {
    this.#options = options;
  }

  /** Takes a new state and draws it now, or as soon as ten drawings a second allow. */
  update(state: ProgressState): void {
    if (this.#closed) return;
    this.#state = state;
    const waitMs = this.#drawnAtMs + redrawMs - this.#options.nowMs();
    if (waitMs <= 0) this.#draw();
    else this.#drawIn(waitMs);
  }

  /** Runs `print` with the drawing out of the way, and draws again below what was printed. */
  above(print: () => void): void {
    this.#erase();
    print();
    if (this.#state.size > 0) this.#draw();
  }

  /** Takes the drawing off the screen for good: what is told afterwards is not drawn. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#state = noProgress;
    this.#erase();
  }

  #drawIn(ms: number): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#draw();
    }, ms);
    this.#timer.unref();
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { columns, rows } = this.#options.size();
    const nowMs = this.#options.nowMs();
    const lines = drawProgress(this.#state, { columns, rows, style: this.#options.style }, nowMs);
    const back = this.#backToTop(columns);
    this.#options.output.write(`${back}${lines.map((line) => `${line}\u001b[K\n`).join("")}\u001b[J`);
    this.#widths = lines.map(columnsOf);
    this.#drawnAtMs = nowMs;
    if ([...this.#state.values()].some((view) => view.link !== undefined)) this.#drawIn(countdownMs);
  }

  #erase(): void {
    if (this.#widths.length === 0) return;
    this.#options.output.write(`${this.#backToTop(this.#options.size().columns)}\u001b[J`);
    this.#widths = [];
  }

  /** To the first row of the drawing: a terminal that has become narrower wrapped its lines over more rows. */
  #backToTop(columns: number): string {
    const rows = this.#widths.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / columns)), 0);
    return rows === 0 ? "" : `\u001b[${rows}A\r`;
  }
}
