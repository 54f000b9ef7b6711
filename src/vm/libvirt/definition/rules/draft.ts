/** A domain while its XML is read: what is refused, what a person should know, and what is dropped as asked. Pure. */
import { MigrateError } from "../../../../protocol/errors.ts";
import { printable } from "../../../../protocol/printable.ts";

const longestShownChars = 80;
/** More refusals than a person reads; what comes after is counted. */
const mostRefusals = 50;

/** Text of the XML for a sentence: short, and nothing in it that moves a terminal's cursor. */
export function shown(text: string): string {
  const short = printable(text.slice(0, longestShownChars));
  return text.length > longestShownChars ? `${short}…` : short;
}

/** An element's name for a sentence. */
export function tag(name: string): string {
  return `<${shown(name)}>`;
}

export class Draft {
  /** What travels is read: files have plain names in place of paths. */
  readonly offered: boolean;
  readonly notes: string[] = [];
  readonly #drop: ReadonlySet<string>;
  readonly #refusals: MigrateError[] = [];
  readonly #sentences = new Set<string>();
  #uncounted = 0;

  constructor({ offered = false, drop = [] }: { offered?: boolean; drop?: readonly string[] } = {}) {
    this.offered = offered;
    this.#drop = new Set(drop);
  }

  get refusals(): MigrateError[] {
    if (this.#uncounted === 0) return this.#refusals;
    return [
      ...this.#refusals,
      new MigrateError("policy", `${this.#uncounted} other parts of the domain are refused as well`),
    ];
  }

  /** `what` is the element, by its name and what tells it from others. Returns null: the element is not kept. */
  refuse(what: string, why: string, hint?: string): null {
    const sentence = `${what} is refused: ${why}`;
    if (this.#sentences.has(sentence)) return null;
    if (this.#refusals.length >= mostRefusals) {
      this.#uncounted += 1;
      return null;
    }
    this.#sentences.add(sentence);
    this.#refusals.push(new MigrateError("policy", sentence, { hint }));
    return null;
  }

  note(sentence: string): void {
    if (!this.notes.includes(sentence)) this.notes.push(sentence);
  }

  /** Whether elements of that name are to be dropped; notes it. */
  drops(name: string): boolean {
    if (!this.#drop.has(name)) return false;
    this.note(`${tag(name)} is dropped, as asked`);
    return true;
  }
}
