/** From the command line to the command and its exit code. */
import { runCommand } from "citty";
import { asMigrateError, exitCodes, MigrateError, type Side } from "../../protocol/errors.ts";
import { helpHint, type ParsedArguments, wantsJson } from "./arguments.ts";
import type { World } from "./context.ts";
import { type Command, type CommandGroup, isGroup, reporterFor } from "./define-command.ts";
import { commandHelp, groupHelp } from "./help.ts";
import { suggest } from "./suggest.ts";
import { build } from "./version.ts";

/**
 * Runs the command that `words` (the arguments of the process) name in `tree`, tells what comes of it
 * and gives the exit code. Never throws, and has written everything when it resolves.
 */
export async function runProgram(
  tree: CommandGroup,
  words: readonly string[],
  world: World,
): Promise<number> {
  let side: Side | undefined;
  let json = wantsJson(words);
  try {
    const asked = await askedFor(tree, words, world);
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

/** The command and its arguments; or the exit code where version or help was all that was asked for. */
async function askedFor(
  tree: CommandGroup,
  words: readonly string[],
  world: World,
): Promise<{ command: Command; parsed: ParsedArguments } | number> {
  let group = tree;
  for (let at = 0; ; at += 1) {
    const word = words[at];
    const rest = words.slice(at);
    if (word === undefined || word === "--help" || word === "-h" || (word === "help" && at === 0)) {
      world.stdout.write(`${await helpOf(group, tree)}\n`);
      return exitCodes.done;
    }
    if (at === 0 && (word === "--version" || word === "-V")) return tellVersion(rest.slice(1), world);
    if (word.startsWith("-")) {
      const known = word === "--json" && rest.length > 1;
      throw new MigrateError("usage", known ? "Flags stand behind the command" : `Unknown flag ${word}`, {
        hint: helpHint(group.name),
      });
    }
    const load = Object.hasOwn(group.commands, word) ? group.commands[word] : undefined;
    if (load === undefined) {
      const near = suggest(word, Object.keys(group.commands));
      throw new MigrateError("usage", `Unknown command "${word}"`, {
        hint: `${near === undefined ? "" : `Did you mean ${group.name} ${near}?\n`}${helpHint(group.name)}`,
      });
    }
    const entry = await load();
    if (!isGroup(entry)) return { command: entry, parsed: entry.parse(words.slice(at + 1)) };
    group = entry;
  }
}

function tellVersion(rest: readonly string[], world: World): number {
  const extra = rest.find((word) => word !== "--json");
  if (extra !== undefined)
    throw new MigrateError("usage", `Unexpected argument "${extra}"`, { hint: helpHint("migrate") });
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
    "MIGRATE_HOME names the folder that keeps this host's identity, trust file and journal\n(default: /var/lib/migrate for root, else $XDG_STATE_HOME/migrate or ~/.local/state/migrate).";
  return groupHelp(group.name, group.summary, rows, [home, "migrate --version names version and commit."]);
}

function stackOf(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}
