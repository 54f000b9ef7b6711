/**
 * The keys of one option while it is read: each is taken out by the reader that knows what it means, and one
 * that is left over is refused with its name. Pure.
 */
import { visiblePattern } from "../../../protocol/printable.ts";
import type { Pair } from "./model.ts";
import { isJson, readJsonPairs, readPairs, refused, shown, textOf } from "./option-syntax.ts";

/** What a value must look like. */
export type ValueRule = Pick<RegExp, "test">;

/** Which keys an option may have, and what their values look like. */
export type KeyRules = Readonly<Record<string, ValueRule>>;

export const patterns = {
  whole: /^\d{1,15}$/,
  /** Decimal or hexadecimal. */
  number: /^(?:0x[\da-fA-F]{1,16}|-?\d{1,15})$/,
  size: /^\d{1,15}(?:\.\d{1,6})?[bkmgtpeBKMGTPE]?$/,
  flag: /^(?:on|off|yes|no|true|false|y|n|auto)$/,
  /** util/id.c: what QEMU takes for an id. */
  id: /^[A-Za-z][\w.-]{0,127}$/,
  /** An id that is also a node's name: 31 characters at most (block.c, char node_name[32]). */
  node: /^[A-Za-z][\w.-]{0,30}$/,
  /** A word that is no path: no slash, nothing but ordinary characters. */
  word: /^[\w.:+-]{1,128}$/,
  /** Text for the guest to read: anything printable, slashes too. It never becomes a file's name. */
  text: visiblePattern(0, 1024),
  uuid: /^[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}$/,
} as const;

export class Settings {
  readonly option: string;
  /** Given as JSON. */
  readonly json: boolean;
  #pairs: Pair[];

  private constructor(option: string, json: boolean, pairs: Pair[]) {
    this.option = option;
    this.json = json;
    this.#pairs = pairs;
  }

  /**
   * Reads an option's value, in JSON form only if `json` allows it. A key that is there twice is
   * refused unless it is in `repeats`: QEMU takes the last one, and a reader might take the first.
   * @throws MigrateError "policy".
   */
  static read(
    option: string,
    text: string,
    { implied, json = false, repeats = [] }: { implied?: string; json?: boolean; repeats?: string[] } = {},
  ): Settings {
    const inJson = json && isJson(text);
    const pairs = inJson ? readJsonPairs(option, text) : readPairs(option, text, implied);
    const seen = new Set<string>();
    for (const { key } of pairs) {
      if (seen.has(key) && !repeats.includes(key))
        throw refused(`${option} ${shown(key)}`, "it is given twice");
      seen.add(key);
    }
    return new Settings(option, inJson, pairs);
  }

  /** Settings of our own making, for options that are short for others. */
  static of(option: string, pairs: readonly Pair[]): Settings {
    return new Settings(option, false, [...pairs]);
  }

  has(key: string): boolean {
    return this.#pairs.some((pair) => pair.key === key);
  }

  /** Whether a key has that value; it stays where it is. */
  is(key: string, value: string): boolean {
    return this.#pairs.some((pair) => pair.key === key && textOf(pair.value) === value);
  }

  /** Takes a key out; undefined if it is not there. @throws MigrateError "policy" if its value does not fit. */
  take(key: string, rule: ValueRule): string | undefined {
    const at = this.#pairs.findIndex((pair) => pair.key === key);
    if (at < 0) return undefined;
    const text = textOf(this.#pairs.splice(at, 1)[0]!.value);
    if (!rule.test(text)) throw this.#badValue(key);
    return text;
  }

  /** As `take`, for a key that must be there. */
  need(key: string, rule: ValueRule): string {
    const text = this.take(key, rule);
    if (text === undefined) throw refused(this.option, `it has no ${key}`);
    return text;
  }

  /** Takes a switch out; undefined if it is not there. */
  flag(key: string): boolean | undefined {
    const text = this.take(key, patterns.flag);
    return text === undefined ? undefined : /^(?:on|yes|true|y)$/.test(text);
  }

  /** Takes keys out and forgets them; returns those that were there. */
  drop(keys: readonly string[]): string[] {
    const dropped = this.#pairs.filter(({ key }) => keys.includes(key)).map(({ key }) => key);
    this.#pairs = this.#pairs.filter(({ key }) => !keys.includes(key));
    return dropped;
  }

  /** Takes out all keys that the rules know, in their order. @throws MigrateError "policy" if a value does not fit. */
  kept(rules: KeyRules): Pair[] {
    return this.keptBy((key) => (Object.hasOwn(rules, key) ? rules[key] : undefined));
  }

  /** As `kept`, with a rule (or none) for each key. */
  keptBy(ruleOf: (key: string) => ValueRule | undefined): Pair[] {
    const kept: Pair[] = [];
    const rest: Pair[] = [];
    for (const pair of this.#pairs) {
      const rule = ruleOf(pair.key);
      if (rule === undefined) rest.push(pair);
      else if (rule.test(textOf(pair.value))) kept.push(pair);
      else throw this.#badValue(pair.key);
    }
    this.#pairs = rest;
    return kept;
  }

  /** Takes out everything below "prefix.", as settings of their own. */
  below(prefix: string): Settings {
    const inner = this.#pairs.filter(({ key }) => key.startsWith(`${prefix}.`));
    this.#pairs = this.#pairs.filter((pair) => !inner.includes(pair));
    const pairs = inner.map(({ key, value }) => ({ key: key.slice(prefix.length + 1), value }));
    return new Settings(`${this.option} ${prefix}`, this.json, pairs);
  }

  /** Refuses the first key that is left over, by its name. `why` returns a reason that the option alone knows. */
  end(why: (key: string) => string | undefined = () => undefined): void {
    const [first] = this.#pairs;
    if (first === undefined) return;
    throw refused(
      `${this.option} ${shown(first.key)}`,
      why(first.key) ?? "it is not among what a VM may bring along",
    );
  }

  #badValue(key: string): Error {
    return refused(`${this.option} ${shown(key)}`, "its value is not one that a VM may bring along");
  }
}
