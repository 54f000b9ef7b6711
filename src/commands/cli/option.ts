/** The kinds of flags a command can have, each with the type of its value. Pure. */
import { MigrateError } from "../../protocol/errors.ts";
import { parseDuration, parseSize } from "../../terminal/format.ts";

export interface Option<Value> {
  /** What stands for the value in the help; undefined for a switch, which takes none. */
  readonly takes: string | undefined;
  /** One sentence without its full stop. */
  readonly about: string;
  /** Whether it may be given more than once. */
  readonly repeats: boolean;
  /** Whether the command needs it. */
  readonly needed: boolean;
  /** What is taken if the flag is not given, as a person would write it. */
  readonly fallback: string | undefined;
  /**
   * The value from the texts given, in order (for a switch one empty text each time).
   * @throws MigrateError "usage"; its message ends a sentence that begins with the flag.
   */
  read(given: readonly string[]): Value;
}

// biome-ignore lint/suspicious/noExplicitAny: the one place where options of all types meet.
export type Options = Readonly<Record<string, Option<any>>>;

export type ValuesOf<Given extends Options> = {
  [Name in keyof Given]: Given[Name] extends Option<infer Value> ? Value : never;
};

type Parse<Value> = (text: string) => Value;
const asText: Parse<string> = (text) => text;

/** A flag without a value. */
export function toggle(about: string): Option<boolean> {
  return {
    takes: undefined,
    about,
    repeats: false,
    needed: false,
    fallback: undefined,
    read: (given) => given.length > 0,
  };
}

/** A flag that may be left out. */
export function optional(takes: string, about: string): Option<string | undefined>;
export function optional<Value>(takes: string, about: string, parse: Parse<Value>): Option<Value | undefined>;
export function optional(takes: string, about: string, parse: Parse<unknown> = asText): Option<unknown> {
  return {
    takes,
    about,
    repeats: false,
    needed: false,
    fallback: undefined,
    read: ([text]) => (text === undefined ? undefined : parse(text)),
  };
}

/** A flag that stands for `fallback` if it is left out. */
export function withDefault<Value>(
  takes: string,
  about: string,
  fallback: string,
  parse: Parse<Value>,
): Option<Value> {
  return { takes, about, repeats: false, needed: false, fallback, read: ([text]) => parse(text ?? fallback) };
}

/** A flag that the command cannot do without. */
export function needed(takes: string, about: string): Option<string> {
  return {
    takes,
    about,
    repeats: false,
    needed: true,
    fallback: undefined,
    read: ([text]) => text ?? "",
  };
}

/** A flag that may be given many times. */
export function list(takes: string, about: string): Option<string[]> {
  return repeated(takes, about, asText);
}

/** The same, each of them read by `parse`. */
export function repeated<Value>(takes: string, about: string, parse: Parse<Value>): Option<Value[]> {
  return {
    takes,
    about,
    repeats: true,
    needed: false,
    fallback: undefined,
    read: (given) => given.map((text) => parse(text)),
  };
}

/** What `parse` makes of a text, and the text itself, for a note of what was given. */
export function asWritten<Value>(parse: Parse<Value>): Parse<{ text: string; value: Value }> {
  return (text) => ({ text, value: parse(text) });
}

/** One of a few choices. */
export function oneOf<const Choice extends string>(choices: readonly Choice[]): Parse<Choice> {
  return (text) => {
    const choice = choices.find((candidate) => candidate === text);
    if (choice === undefined)
      throw new MigrateError("usage", `must be one of ${choices.join(", ")}, not "${text}"`);
    return choice;
  };
}

/** A whole number within bounds, both of them allowed. */
export function wholeNumber(least: number, most: number): Parse<number> {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most))
      throw new MigrateError("usage", `must be a whole number from ${least} to ${most}, not "${text}"`);
    return value;
  };
}

/** A duration in milliseconds within bounds. */
export function duration(leastMs: number, mostMs: number): Parse<number> {
  return (text) => {
    const ms = reworded(() => parseDuration(text));
    if (ms < leastMs || ms > mostMs)
      throw new MigrateError("usage", `must be from ${leastMs} ms to ${longest(mostMs)}, not "${text}"`);
    return ms;
  };
}

/** A bound in one unit, as whole as it is. */
function longest(ms: number): string {
  return ms % 3_600_000 === 0 ? `${ms / 3_600_000} h` : `${ms / 1000} s`;
}

/** A size or a rate in bytes (a second); see parseSize. */
export const size: Parse<number> = (text) => reworded(() => parseSize(text));

function reworded<Value>(parse: () => Value): Value {
  try {
    return parse();
  } catch (thrown) {
    if (!(thrown instanceof MigrateError)) throw thrown;
    throw new MigrateError("usage", `cannot be read: ${thrown.message}`, { hint: thrown.hint });
  }
}

export interface Address {
  host: string;
  port: number;
}

/**
 * HOST:PORT, an IPv6 address in brackets: "[::1]:7600". `leastPort` is 0 if a free port may be
 * asked for. The port may be left out if `defaultPort` is given.
 */
export function address(leastPort: 0 | 1, defaultPort?: number): Parse<Address> {
  return (text) => {
    const match = /^(?:\[([0-9a-f:.]+(?:%[\w.-]+)?)\]|([^\s:[\]/@]+))(?::(\d{1,5}))?$/i.exec(text);
    const host = match?.[1] ?? match?.[2];
    const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
    if (host === undefined || port === undefined || port < leastPort || port > 65535)
      throw new MigrateError("usage", `must be HOST:PORT, not "${text}"`, {
        hint: "For example 192.0.2.7:7600 or [2001:db8::7]:7600.",
      });
    return { host, port };
  };
}

/** The port of `migrate serve` if none is named. */
export const defaultPort = 7600;
