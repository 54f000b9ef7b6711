import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type Command, type CommandGroup, isGroup } from "../../src/commands/cli/define-command.ts";
import { runProgram } from "../../src/commands/cli/program.ts";
import { tree } from "../../src/commands/tree.ts";
import { exitCodes } from "../../src/protocol/errors.ts";
import { TestWorld } from "./world.ts";

async function commandsOf(group: CommandGroup): Promise<Command[]> {
  const entries = await Promise.all(Object.values(group.commands).map((load) => load()));
  return (await Promise.all(entries.map((entry) => (isGroup(entry) ? commandsOf(entry) : [entry])))).flat();
}

const commands = await commandsOf(tree);
const examples = commands.flatMap((command) =>
  command.spec.examples.map(([line]) => ({ command, line, name: command.spec.name })),
);

let world: TestWorld;
beforeEach(() => {
  world = new TestWorld();
});
afterEach(() => world.remove());

test.each(commands.map((command) => [command.spec.name, command] as const))(
  "%s is found by the name that its help has",
  async (name, command) => {
    expect(await runProgram(tree, [...name.split(" ").slice(1), "--help"], world)).toBe(exitCodes.done);
    const { stdout } = world.take();
    expect(stdout.replaceAll("\n", " ")).toStartWith(`${name}: ${command.spec.summary}.`);
    for (const section of ["Usage:", "Flags:", "Example:", "Exit codes:"])
      expect(stdout).toContain(`\n${section}\n`);
    for (const line of stdout.split("\n"))
      if (!line.includes("sha256:")) expect(line.length).toBeLessThanOrEqual(80);
  },
);

describe("an example in a help", () => {
  test("is there for every command", () => {
    for (const { spec } of commands) expect(spec.examples.length, spec.name).toBeGreaterThan(0);
  });

  test.each(examples)("is a command line that its command accepts: $line", ({ command, line, name }) => {
    expect(`${line} `).toStartWith(`${name} `);
    const { help, values } = command.parse(line.split(" ").slice(name.split(" ").length));
    expect(help).toBe(false);
    // A ticket does not belong on a command line, where all users of a host see it.
    if (values.ticket !== undefined) expect(values.ticket).toBe("-");
  });
});
