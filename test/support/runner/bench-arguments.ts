/** The arguments of a benchmark: options that each have a value, most of them with a default, and flags. */
import { parseArgs } from "node:util";

export class BenchArguments {
  readonly #values: Record<string, string | boolean | undefined>;

  /**
   * Takes the arguments and what they are without them, written as a command line: `--rounds 3 --json --install!`.
   * One without a default has no value if it is not given; one with a "!" is a flag. Throws an Error with a
   * sentence if an argument is not known, or has no value.
   */
  constructor(args: string[], defaults: string) {
    const options: NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>["options"]> = {};
    for (const [, name = "", isFlag, value] of defaults.matchAll(/--([a-z-]+)(!?)(?: (?!--)(\S+))?/g)) {
      options[name] = isFlag
        ? { type: "boolean", default: false }
        : { type: "string", ...(value === undefined ? {} : { default: value }) };
    }
    this.#values = parseArgs({ args, strict: true, options }).values as Record<string, string | boolean>;
  }

  has(flag: string): boolean {
    return this.#values[flag.slice(2)] === true;
  }

  optional(flag: string): string | undefined {
    const value = this.#values[flag.slice(2)];
    return typeof value === "string" ? value : undefined;
  }

  text(flag: string): string {
    return this.optional(flag) ?? "";
  }

  /** Throws an Error with a sentence if it is no whole number or out of its bounds. */
  wholeNumber(flag: string, least: number, most: number): number {
    return wholeNumber(flag, this.text(flag), least, most);
  }

  /** Whole numbers with commas between them, each once, ascending; none for "0". Throws like `wholeNumber`. */
  wholeNumbers(flag: string, least: number, most: number): number[] {
    if (this.text(flag) === "0") return [];
    const values = this.text(flag)
      .split(",")
      .map((word) => wholeNumber(flag, word, least, most));
    return [...new Set(values)].sort((a, b) => a - b);
  }

  /** Names with commas between them, each once. Throws an Error with a sentence if one is not known. */
  names<Name extends string>(flag: string, known: readonly Name[]): Name[] {
    const names = [...new Set(this.text(flag).split(","))];
    const isKnown = (name: string): name is Name => (known as readonly string[]).includes(name);
    const strange = names.find((name) => !isKnown(name));
    if (strange !== undefined) throw new Error(`${flag} knows ${known.join(", ")}, not ${strange}`);
    return names.filter(isKnown);
  }

  /** What all benchmarks are told alike. Throws like `wholeNumber`. */
  usual(): { folder: string; seed: number; json: string | undefined } {
    return { folder: this.text("--folder"), seed: this.#seed(), json: this.optional("--json") };
  }

  /** The seed of an order, a new one if none is given. */
  #seed(): number {
    if (this.optional("--seed") === undefined) return crypto.getRandomValues(new Uint32Array(1))[0]!;
    return this.wholeNumber("--seed", 0, 2 ** 32 - 1);
  }
}

function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Error(`${flag} takes a whole number from ${least} to ${most}, not ${text}`);
}
