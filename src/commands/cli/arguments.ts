/**
 * Strict reading of a command's arguments. citty's own parser lets unknown flags, missing values and
 * repetitions pass silently; a migration that quietly ignores `--cpoy` is not an option. Pure.
 */
import { MigrateError } from "../../protocol/errors.ts";
import type { Options } from "./option.ts";
import { suggest } from "./suggest.ts";

export interface Positionals {
  /** How they are called in the usage line, in order. */
  names: readonly string[];
  /** How many must be there. */
  least: number;
  /** The last of them may be there any number of times. */
  many?: boolean;
}

export interface ParsedArguments {
  help: boolean;
  json: boolean;
  positionals: string[];
  /** Values by the name of the option; empty if `help` is true. */
  values: Record<string, unknown>;
}

/** A flag's name on the command line: maxSessions is --max-sessions. */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/**
 * Reads `argv`, the arguments behind the command's name. `-h`, `--help` and `--json` are every
 * command's. Behind "--" all arguments are positionals.
 * @throws MigrateError "usage": unknown flag, value missing or too many, flag repeated, bad value,
 *   positional missing or too many. Its hint names the command's help.
 */
export function parseArguments(
  command: string,
  options: Options,
  positionals: Positionals,
  argv: readonly string[],
): ParsedArguments {
  const names = new Map(Object.keys(options).map((name) => [flagOf(name), name]));
  const given = new Map<string, string[]>();
  const rest: string[] = [];
  const refuse = usageErrors(command);
  const seen = new Set<string>();

  for (let at = 0; at < argv.length; at += 1) {
    const argument = argv[at] ?? "";
    if (argument === "--") {
      rest.push(...argv.slice(at + 1));
      break;
    }
    if (argument === "-h") {
      seen.add("--help");
      continue;
    }
    if (!argument.startsWith("-") || argument === "-") {
      rest.push(argument);
      continue;
    }
    const equals = argument.indexOf("=");
    const flag = equals < 0 ? argument : argument.slice(0, equals);
    const inline = equals < 0 ? undefined : argument.slice(equals + 1);
    if (flag === "--help" || flag === "--json") {
      if (inline !== undefined) throw refuse(`${flag} takes no value`);
      if (flag === "--json" && seen.has(flag)) throw refuse("--json is given twice");
      seen.add(flag);
      continue;
    }
    const name = names.get(flag);
    const option = name === undefined ? undefined : options[name];
    if (name === undefined || option === undefined) {
      const near = suggest(
        flag.replace(/^-+/, ""),
        [...names.keys(), "--help", "--json"].map((known) => known.slice(2)),
      );
      throw refuse(`Unknown flag ${flag}`, near === undefined ? undefined : `Did you mean --${near}?`);
    }
    const before = given.get(name);
    if (before !== undefined && !option.repeats) throw refuse(`${flag} is given twice`);
    if (option.takes === undefined) {
      if (inline !== undefined) throw refuse(`${flag} takes no value`);
      given.set(name, [""]);
      continue;
    }
    const next = argv[at + 1];
    const value = inline ?? (next === undefined || (next.startsWith("-") && next !== "-") ? undefined : next);
    if (value === undefined || value === "")
      throw refuse(`${flag} needs a value: ${flag} ${option.takes}`, dashHint(flag, next));
    if (inline === undefined) at += 1;
    given.set(name, [...(before ?? []), value]);
  }

  const json = seen.has("--json");
  if (seen.has("--help")) return { help: true, json, positionals: rest, values: {} };
  if (rest.length > positionals.names.length && positionals.many !== true)
    throw refuse(`Unexpected argument "${rest[positionals.names.length]}"`);
  if (rest.length < positionals.least)
    throw refuse(`${positionals.names.slice(rest.length, positionals.least).join(" and ")} is missing`);
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(options)) {
    const texts = given.get(name) ?? [];
    if (option.needed && texts.length === 0)
      throw refuse(`${flagOf(name)} is missing`, `Add ${flagOf(name)} ${option.takes ?? ""}`.trimEnd());
    values[name] = readValue(flagOf(name), () => option.read(texts), refuse);
  }
  return { help: false, json, positionals: rest, values };
}

/** Whether output is to be JSON, for a command line that cannot be read any better. */
export function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return (end < 0 ? argv : argv.slice(0, end)).includes("--json");
}

/** Makes the errors of a command that is called wrongly; each ends in a hint at the command's help. */
export function usageErrors(command: string): (message: string, hint?: string) => MigrateError {
  const help = `See ${command} --help`;
  return (message, hint) =>
    new MigrateError("usage", message, { hint: hint === undefined ? help : `${hint}\n${help}` });
}

function dashHint(flag: string, next: string | undefined): string | undefined {
  return next?.startsWith("-") ? `A value that begins with a dash is written ${flag}=${next}` : undefined;
}

/** Also for positionals: reads a value, and begins the sentence of its failure with `subject`. */
export function readValue<Value>(
  subject: string,
  read: () => Value,
  refuse: (message: string, hint?: string) => MigrateError,
): Value {
  try {
    return read();
  } catch (thrown) {
    if (!(thrown instanceof MigrateError)) throw thrown;
    throw refuse(`${subject} ${thrown.message}`, thrown.hint);
  }
}
