/** `migrate attest record`: the registers it is told, and what it refuses before it asks a host. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import attest from "../../../src/commands/attest/attest.ts";
import { runProgram } from "../../../src/commands/cli/program.ts";
import { commandTree, eachTestHasWorld, type TestWorld } from "../world.ts";

const tree = { ...commandTree(), commands: { attest: async () => attest } };
const source = `sha256:${"ab".repeat(32)}`;
const usage = 2;

let world: TestWorld;
eachTestHasWorld((made) => {
  world = made;
});
const record = (...words: string[]) => runProgram(tree, ["attest", "record", ...words], world);

for (const flag of ["--pcrs", "--by-events", "--ek-roots"])
  test(`${flag} is refused for a source, which has shown what it showed`, async () => {
    expect(await record(source, flag, "7")).toBe(usage);
    const { stderr } = world.take();
    expect(stderr).toContain(`${flag} is about a host that is asked`);
    expect(stderr).toContain("change the policy file");
    expect(existsSync(join(world.env.MIGRATE_HOME!, "attest"))).toBe(false);
  });

for (const flag of ["--pcrs", "--by-events"])
  test(`${flag} with what are no registers is refused, and says how they are written`, async () => {
    for (const list of ["24", "3-1", "sha256:7", "all"]) {
      expect(await record("127.0.0.1:1", flag, list)).toBe(usage);
      expect(world.take().stderr).toContain(
        `${flag} must be registers from 0 to 23, as in 0-7,14, not "${list}"`,
      );
    }
  });

test("a source that has shown nothing yet is said to be unknown, and nothing is written", async () => {
  expect(await record(source, "--yes")).not.toBe(0);
  expect(world.take().stderr).toContain(`${source} has shown nothing here`);
  expect(existsSync(join(world.env.MIGRATE_HOME!, "attest"))).toBe(false);
});
