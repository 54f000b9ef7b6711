/** From the command line to the command and its exit code. */
import { runCommand } from "citty";
import { requireUsable } from "../../platform/process-limits.ts";
import { asMigrateError, exitCodes, type Side } from "../../protocol/errors.ts";
import { type ParsedArguments, usageErrors, wantsJson } from "./arguments.ts";
import type { World } from "./context.ts";
import { type Command, type CommandGroup, isGroup, reporterFor } from "./define-command.ts";
import { commandHelp, groupHelp } from "./help.ts";
import { suggest } from "./suggest.ts";
import { build } from "./version.ts";

/**
 * Runs the command that `argv` (the arguments of the process) names in `tree`, reports how it ends
 * and returns the exit code. Never throws, and has written everything when it resolves.
 */
export async function runProgram(tree: CommandGroup, argv: readonly string[], world: World): Promise<number> {
  let side: Side | undefined;
  let json = wantsJson(argv);
  try {
    const asked = await askedFor(tree, argv, world);
    if (typeof asked === "number") return asked;
    const { command, parsed } = asked;
    side = command.spec.side;
    json = parsed.json;
    if (parsed.help) {
      world.stdout.write(`${commandHelp(command.spec)}\n`);
      return exitCodes.done;
    }
    return await runOne(command, parsed, world);
  } catch (thrown) {
    const error = asMigrateError(thrown);
    const reporter = reporterFor(world, json);
    reporter.fail(error, side === undefined ? {} : { side });
    await reporter.close();
    return error.exitCode;
  } finally {
    await Promise.all([world.stdout.flush(), world.stderr.flush()]);
  }
}

async function runOne(command: Command, parsed: ParsedArguments, world: World): Promise<number> {
  const reporter = reporterFor(world, parsed.json);
  const { side } = command.spec;
  try {
    const { result } = await runCommand(command.citty(world, parsed, reporter), { rawArgs: [] });
    return typeof result === "number" ? result : exitCodes.done;
  } catch (thrown) {
    const error = asMigrateError(thrown);
    // A side implies a migration, and one that failed before its first phase failed in "begin".
    reporter.fail(error, side === undefined ? {} : { side, phase: "begin" });
    if (error.code === "bug" && world.env.MIGRATE_DEBUG) world.stderr.write(`${stackOf(thrown)}\n`);
    return error.exitCode;
  }
}

/** The command and its arguments; or the exit code if version or help was all that was asked for. */
async function askedFor(
  tree: CommandGroup,
  argv: readonly string[],
  world: World,
): Promise<{ command: Command; parsed: ParsedArguments } | number> {
  let group = tree;
  for (let at = 0; ; at += 1) {
    const argument = argv[at];
    const rest = argv.slice(at);
    if (
      argument === undefined ||
      argument === "--help" ||
      argument === "-h" ||
      (argument === "help" && at === 0)
    ) {
      world.stdout.write(`${await helpOf(group, tree)}\n`);
      return exitCodes.done;
    }
    if (at === 0 && (argument === "--version" || argument === "-V")) return showVersion(rest.slice(1), world);
    if (argument.startsWith("-")) {
      const known = argument === "--json" && rest.length > 1;
      throw usageErrors(group.name)(known ? "Flags stand behind the command" : `Unknown flag ${argument}`);
    }
    // Before a command is loaded: what it needs may be too much for this process.
    requireUsable();
    await world.prepare?.();
    const load = Object.hasOwn(group.commands, argument) ? group.commands[argument] : undefined;
    if (load === undefined) {
      const near = suggest(argument, Object.keys(group.commands));
      throw usageErrors(group.name)(
        `Unknown command "${argument}"`,
        near === undefined ? undefined : `Did you mean ${group.name} ${near}?`,
      );
    }
    const entry = await load();
    if (!isGroup(entry)) return { command: entry, parsed: entry.parse(argv.slice(at + 1)) };
    group = entry;
  }
}

function showVersion(rest: readonly string[], world: World): number {
  const extra = rest.find((argument) => argument !== "--json");
  if (extra !== undefined) throw usageErrors("migrate")(`Unexpected argument "${extra}"`);
  const line = rest.includes("--json")
    ? JSON.stringify({ event: "version", name: "migrate", ...build })
    : `migrate ${build.version} (${build.commit})`;
  world.stdout.write(`${line}\n`);
  return exitCodes.done;
}

async function helpOf(group: CommandGroup, tree: CommandGroup): Promise<string> {
  const entries = await Promise.all(
    Object.entries(group.commands).map(async ([name, load]) => ({ name, entry: await load() })),
  );
  const rows = entries.flatMap(({ name, entry }): [string, string][] => {
    if (isGroup(entry)) return [[name, entry.summary]];
    return entry.spec.hidden === true ? [] : [[name, entry.spec.summary]];
  });
  if (group !== tree) return groupHelp(group.name, group.summary, rows);
  const home =
    "MIGRATE_HOME names the folder that keeps this host's identity, trust file and\njournal (default: /var/lib/migrate for root, else $XDG_STATE_HOME/migrate or\n~/.local/state/migrate).";
  return groupHelp(group.name, group.summary, rows, [home, "migrate --version names version and commit."]);
}

function stackOf(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}
