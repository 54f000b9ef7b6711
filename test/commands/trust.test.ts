/** `migrate trust` with terms: what it writes, what it shows, and what doctor says of those that are over. */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../../src/commands/cli/program.ts";
import { trustCheck } from "../../src/commands/doctor/doctor-checks.ts";
import { openHome } from "../../src/home/home.ts";
import { commandTree, eachTestHasWorld, type TestWorld } from "./world.ts";

const tree = commandTree("trust");
const host = `sha256:${"ab".repeat(32)}`;

let world: TestWorld;
let home: string;
eachTestHasWorld((made) => {
  world = made;
  home = openHome(world.env.MIGRATE_HOME!);
});
const run = (...words: string[]) => runProgram(tree, ["trust", ...words], world);
const file = () => readFileSync(join(home, "trust"), "utf8");

test("add writes the terms, and list shows them", async () => {
  const bounds = ["--max-bytes", "1T", "--max-vms", "5", "--max-sessions", "2"];
  const words = ["--role", "source", "--expires", "2999-01-31", ...bounds];
  expect(await run("add", host, "hosta", ...words)).toBe(0);
  expect(world.take().stdout).toBe("hosta is trusted as source, until 2999-01-31\n");
  const terms = "expires=2999-01-31 max-bytes=1T max-vms=5 max-sessions=2";
  expect(file()).toBe(`${host} source hosta ${terms}\n`);
  expect(await run("list")).toBe(0);
  expect(world.take().stdout).toContain(terms.replaceAll(" ", ","));
  expect(await run("list", "--json")).toBe(0);
  expect(world.takeEvents()).toEqual([
    {
      event: "peer",
      fingerprint: host,
      roles: ["source"],
      name: "hosta",
      expires: "2999-01-31",
      maxBytes: 1024 ** 4,
      maxVms: 5,
      maxSessions: 2,
    },
  ]);
});

test("bounds are about a source, and so stand on one line with a destination that is the same host", async () => {
  expect(await run("add", host, "hosta", "--role", "destination", "--max-vms", "5")).toBe(2);
  expect(world.take().stderr).toContain("--max-bytes, --max-vms and --max-sessions are about a source");
  expect(await run("add", host, "hosta", "--max-vms", "5")).toBe(0);
  expect(file()).toBe(`${host} source,destination hosta max-vms=5\n`);
});

test("what is no term is refused, and nothing is written", async () => {
  for (const [flag, value] of [
    ["--expires", "2027-02-30"],
    ["--expires", "2027-01-31 max-vms=9"],
    ["--max-bytes", "lots"],
    ["--max-vms", "0"],
    ["--max-sessions", "2 # x"],
  ] as const) {
    expect(await run("add", host, "hosta", flag, value)).toBe(2);
    expect(world.take().stderr).toContain(flag);
  }
  expect(() => file()).toThrow();
});

test("an end that is over is said by list, by add and by doctor, and is gone once the host is trusted again", async () => {
  writeFileSync(join(home, "trust"), `${host} source hosta expires=2020-01-31\n`, { mode: 0o600 });
  expect(await run("list")).toBe(0);
  expect(world.take().stdout).toContain("expired,expires=2020-01-31");
  expect(trustCheck(home)).toMatchObject({
    message: "1 in the trust file, of which 1 expired: hosta",
    state: "warning",
    help: expect.stringContaining("migrate trust add"),
  });
  expect(await run("add", host, "hosta", "--role", "source", "--expires", "2021-01-31")).toBe(0);
  expect(world.take().stdout).toBe("hosta is trusted as source, until 2021-01-31, which is over\n");
  expect(await run("add", host, "hosta", "--role", "source")).toBe(0);
  expect(file()).toBe(`${host} source hosta\n`);
  world.take();
  expect(await run("list")).toBe(0);
  expect(world.take().stdout).not.toContain("TERMS");
  expect(trustCheck(home)).toMatchObject({ message: "1 trusted" });
});

test("--attest required is about either role, is shown by list, and outlives an end that is over", async () => {
  expect(await run("add", host, "hosta", "--attest", "required")).toBe(0);
  expect(world.take().stdout).toBe("hosta is trusted as source and destination, if it proves what it runs\n");
  expect(file()).toBe(`${host} source,destination hosta attest=required\n`);
  expect(await run("list")).toBe(0);
  expect(world.take().stdout).toContain("attest=required");
  expect(await run("add", host, "hosta", "--attest", "maybe")).toBe(2);
  expect(world.take().stderr).toContain("--attest must be required");
  // What somebody trusts anew has to prove itself as before.
  const line = `${host} source,destination hosta expires=2020-01-31 max-vms=5 attest=required\n`;
  writeFileSync(join(home, "trust"), line, { mode: 0o600 });
  expect(await run("add", host, "hosta", "--role", "destination")).toBe(0);
  expect(file()).toContain(`${host} destination hosta attest=required\n`);
  expect(await run("add", host, "hosta", "--role", "source")).toBe(0);
  expect(file()).not.toContain("2020");
  expect(file().match(/attest=required/g)?.length).toBe(file().trim().split("\n").length);
});

test("a destination of the same name with another identity has to prove itself as the one before it had to", async () => {
  const another = `sha256:${"cd".repeat(32)}`;
  expect(await run("add", host, "hostb:7600", "--role", "destination", "--attest", "required")).toBe(0);
  expect(await run("add", another, "hostb:7600", "--role", "destination")).toBe(0);
  expect(file()).toBe(`${another} destination hostb:7600 attest=required\n`);
  // One of another name does not.
  expect(await run("add", host, "hostc:7600", "--role", "destination")).toBe(0);
  expect(file()).toContain(`${host} destination hostc:7600\n`);
});
