/**
 * Our thin layer over citty: a command's flags are typed and strictly read, its help is complete, and
 * what it returns or throws is an exit code for main.ts. citty runs it (setup, run, cleanup).
 */
import { type CommandDef, defineCommand as defineCittyCommand } from "citty";
import type { Side } from "../../protocol/errors.ts";
import { makeReporter, type Reporter } from "../../terminal/reporter.ts";
import { type ParsedArguments, type Positionals, parseArguments } from "./arguments.ts";
import type { World } from "./context.ts";
import type { Options, ValuesOf } from "./option.ts";

export interface CommandInput<Given extends Options> {
  options: ValuesOf<Given>;
  positionals: string[];
  world: World;
  reporter: Reporter;
}

export interface CommandSpec<Given extends Options> {
  /** As it is typed: "migrate trust add". */
  name: string;
  /** One sentence without its full stop. */
  summary: string;
  /** True if it is for this program's own processes, and no help shows it. */
  hidden?: boolean;
  /** More than the summary, if that is needed: paragraphs. */
  about?: string;
  /** The usage lines, if they do not follow from positionals and options. */
  usage?: readonly string[];
  positionals?: Positionals & { about: readonly string[] };
  options: Given;
  /** Command lines that work, each with what it does. */
  examples: readonly (readonly [line: string, what: string])[];
  /** The side this command is on, for errors that do not know theirs. */
  side?: Side;
  /** Does it; returns the exit code, or undefined for 0. */
  run(input: CommandInput<Given>): Promise<number | undefined>;
}

/** A command of any kind: the types of its options are known to its own `run` alone. */
export interface Command {
  spec: CommandSpec<Options>;
  parse(argv: readonly string[]): ParsedArguments;
  /** What citty runs. */
  citty(world: World, parsed: ParsedArguments, reporter: Reporter): CommandDef;
}

/** Commands by their names, loaded when they are asked for. */
export interface CommandGroup {
  name: string;
  summary: string;
  commands: Readonly<Record<string, () => Promise<Command | CommandGroup>>>;
}

const noPositionals: Positionals = { names: [], least: 0 };

export function defineCommand<const Given extends Options>(spec: CommandSpec<Given>): Command {
  return {
    spec: spec as unknown as CommandSpec<Options>,
    parse: (argv) => parseArguments(spec.name, spec.options, spec.positionals ?? noPositionals, argv),
    citty: (world, parsed, reporter) =>
      defineCittyCommand({
        meta: { name: spec.name, description: spec.summary },
        run: () =>
          spec.run({
            // parseArguments has read every option by its own `read`.
            options: parsed.values as ValuesOf<Given>,
            positionals: parsed.positionals,
            world,
            reporter,
          }),
        cleanup: () => reporter.close(),
      }),
  };
}

export function isGroup(entry: Command | CommandGroup): entry is CommandGroup {
  return "commands" in entry;
}

/** The reporter of a command in this world. */
export function reporterFor(world: World, json: boolean): Reporter {
  return makeReporter({
    json,
    stdout: world.stdout,
    stderr: world.stderr,
    env: world.env,
    size: world.size,
    nowMs: world.nowMs,
  });
}
