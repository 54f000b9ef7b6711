/** A small terminal for tests: understands what the display writes, and wraps lines as a real one does. */
import { columnsOf } from "../../src/terminal/line.ts";

export class Screen {
  columns: number;
  rows: string[] = [""];
  row = 0;
  column = 0;

  constructor(columns: number) {
    this.columns = columns;
  }

  write(text: string): void {
    for (const [token] of text.matchAll(/\u001b\[(\d*)([A-Za-z])|[\s\S]/gu)) {
      const control = /^\u001b\[(\d*)([A-Za-z])$/.exec(token);
      if (control !== null) this.#control(Number(control[1] || "1"), control[2] ?? "");
      else if (token === "\n") this.#newLine();
      else if (token === "\r") this.column = 0;
      else this.#put(token);
    }
  }

  /** Makes it narrower, and wraps the lines that are too long now, as most terminals do. */
  narrow(columns: number): void {
    this.columns = columns;
    this.rows = this.rows.flatMap((line) => line.match(new RegExp(`.{1,${columns}}`, "gu")) ?? [""]);
    this.row = this.rows.length - 1;
  }

  /** What is to be seen, without the empty line that the cursor is on. */
  seen(): string[] {
    return this.rows
      .map((line) => line.trimEnd())
      .filter((line, at) => line !== "" || at < this.rows.length - 1);
  }

  #control(count: number, name: string): void {
    if (name === "A") this.row = Math.max(0, this.row - count);
    else if (name === "K") this.rows[this.row] = (this.rows[this.row] ?? "").slice(0, this.column);
    else if (name === "J") {
      this.rows[this.row] = (this.rows[this.row] ?? "").slice(0, this.column);
      this.rows.length = this.row + 1;
    } else if (name !== "m") throw new Error(`the screen does not know CSI ${name}`);
  }

  #newLine(): void {
    this.row += 1;
    this.column = 0;
    this.rows[this.row] ??= "";
  }

  #put(character: string): void {
    if (this.column + columnsOf(character) > this.columns) this.#newLine();
    const line = (this.rows[this.row] ?? "").padEnd(this.column);
    this.rows[this.row] = line.slice(0, this.column) + character + line.slice(this.column + 1);
    this.column += 1;
  }
}
