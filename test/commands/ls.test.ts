/** `migrate ls`: what stands in a store; what runs is shown by test/live/programs/qmp.test.ts. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CommandGroup } from "../../src/commands/cli/define-command.ts";
import { runProgram } from "../../src/commands/cli/program.ts";
import { TestWorld } from "./world.ts";

const tree: CommandGroup = {
  name: "migrate",
  summary: "move VMs",
  commands: { ls: async () => (await import("../../src/commands/ls.ts")).default },
};

let world: TestWorld;
let store: string;
beforeEach(() => {
  world = new TestWorld();
  store = join(world.folder, "store");
  mkdirSync(join(store, "web1"), { recursive: true });
  mkdirSync(join(store, "bad"));
  writeFileSync(join(store, "web1", "ram.bin"), "x".repeat(2048));
  writeFileSync(join(store, "bad", "vm.json"), "{");
  const files = [
    { kind: "ram", file: "ram.bin" },
    { kind: "disk", file: "a.img" },
    { kind: "disk", file: "b.img" },
  ];
  writeFileSync(
    join(store, "web1", "vm.json"),
    JSON.stringify({ format: "migrate-vm/1", name: "web1", files }),
  );
});
afterEach(() => world.remove());

const run = (...words: string[]) => runProgram(tree, ["ls", ...words], world);

test("a store's VMs stand in a table; a broken one is there, and why is said beside it", async () => {
  expect(await run("--store", store)).toBe(0);
  const { stdout, stderr } = world.take();
  const rows = stdout.split("\n").map((line) => line.split(/ {2,}/));
  expect(rows[0]).toEqual(["NAME", "STATE", "RAM", "DISKS", "TPM", "WHERE"]);
  // Other VMs may run on this host.
  expect(rows).toContainEqual(["web1", "stored", "2.0 KiB", "a.img b.img", "no", join(store, "web1")]);
  expect(rows).toContainEqual(["bad", "broken", "no", join(store, "bad")]);
  expect(stderr).toContain(`warning: ${join(store, "bad")} is no VM that can be sent: `);
  expect(stderr).toContain("vm.json is not JSON");
});

test("with --json each is an event with its full paths", async () => {
  expect(await run("--store", store, "--json")).toBe(0);
  const events = world.takeEvents();
  expect(new Set(events.map(({ event }) => event))).toEqual(new Set(["vm"]));
  expect(events).toContainEqual({
    event: "vm",
    name: "web1",
    state: "stored",
    ramBytes: 2048,
    disks: [join(store, "web1", "a.img"), join(store, "web1", "b.img")],
    tpm: false,
    where: join(store, "web1"),
  });
  expect(events).toContainEqual(
    expect.objectContaining({ name: "bad", state: "broken", reason: expect.stringContaining("is not JSON") }),
  );
});

test("a store that is not there is refused", async () => {
  expect(await run("--store", join(store, "none"))).toBe(6);
  expect(world.take().stderr).toContain("cannot be read: there is no such folder");
});
