/** `migrate explain` of a real QEMU: what it says can be moved is what it shows, and nothing is changed. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../../../src/commands/cli/program.ts";
import explain from "../../../src/commands/explain.ts";
import { TestWorld } from "../../commands/world.ts";
import { startChild } from "../../support/system/child.ts";
import { listening } from "../../support/system/listening.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const tree = { name: "migrate", summary: "", commands: { explain: async () => explain } };

let folder: string;
let world: TestWorld;

eachTestInFolder("explain-", (made) => {
  folder = made;
  world = new TestWorld();
  return () => world.remove();
});

async function startQemu(...words: string[]): Promise<string> {
  const socket = join(folder, "qmp");
  const disk = join(folder, "disk.raw");
  writeFileSync(disk, Buffer.alloc(1 << 20));
  startChild([
    ...["qemu-system-x86_64", "-name", "web1", "-accel", "tcg", "-nodefaults", "-display", "none"],
    ...["-qmp", `unix:${socket},server=on,wait=off`, "-drive", `file=${disk},format=raw`, ...words],
  ]);
  await listening(socket);
  return `qmp:${socket}`;
}

const run = (...words: string[]) => runProgram(tree, ["explain", ...words], world);

test("a VM that can be moved is shown as it would be started, and what is different there", async () => {
  const where = await startQemu("-netdev", "user,id=n0", "-device", "e1000,netdev=n0", "-k", "de");
  expect(await run(where)).toBe(0);
  const { stdout, stderr } = world.take();
  expect(stderr).toBe("");
  expect(stdout).toStartWith("web1 would be started as:\n  qemu-system-x86_64\n");
  expect(stdout).toContain("\n  -qmp unix:RUN/qmp,server=on,wait=off\n");
  expect(stdout).toContain("\n  -device e1000,netdev=n0\n");
  expect(stdout).toMatch(/\n {2}-machine pc-i440fx-[\d.]+,dump-guest-core=off\n/);
  expect(stdout).toContain("\n\nWhat is different there:\n");
  expect(stdout).toContain("\n  -k is left out: it is about the display at the source\n");
  expect(stdout).not.toContain(folder);
  expect(stdout).not.toContain("Refused");
});

test("what a destination's processor and QEMU must have is told, and whose processor it is", async () => {
  const where = await startQemu("-cpu", "max,-avx2");
  expect(await run(where, "--json")).toBe(0);
  const [event] = world.takeEvents();
  const notes = event?.notes as string[];
  const note = notes.find((text) => text.startsWith("-cpu max, this host's own processor: "));
  expect(note).toMatch(
    /: a destination must have QEMU \d+\.\d+ or newer, and must be able to give the guest /,
  );
  expect(note).toContain(" sse4.2, ");
  expect(note).not.toContain("avx2");
});

test("all that is refused is told, and ends with 6", async () => {
  const where = await startQemu("-fw_cfg", "name=opt/x,string=y", "-global", "loader.file=x");
  expect(await run(where)).toBe(6);
  const text = world.take().stdout;
  expect(text).toStartWith("The VM would not be started.\n");
  expect(text).toContain("\n\nRefused:\n  -fw_cfg is refused:");
  expect(text).toContain("\n  -global loader.file is refused:");
  expect(await run(where, "--json")).toBe(6);
  expect(world.takeEvents()).toEqual([
    { event: "explanation", name: null, command: [], notes: expect.any(Array), refused: expect.any(Array) },
  ]);
});

test("what the destination's own policy refuses is told as well", async () => {
  const where = await startQemu("-netdev", "user,id=n0", "-device", "e1000,netdev=n0");
  expect(await run(where, "--net", "0=bridge:br0", "--json")).toBe(6);
  const [event] = world.takeEvents();
  expect(event).toMatchObject({ event: "explanation", name: "web1", command: [] });
  expect(event?.refused).toEqual([expect.stringContaining("user network")]);
});

test("what becomes of each card is told", async () => {
  const where = await startQemu(
    "-netdev",
    "user,id=n0,hostfwd=tcp:127.0.0.1:0-:22",
    "-device",
    "e1000,netdev=n0",
  );
  for (const [flags, there] of [
    [[], "nothing"],
    [["--net", "bridge:br0"], "nothing"],
    [["--net", "user"], "a user network, which reaches what that host reaches"],
  ] as const) {
    expect(await run(where, ...flags, "--json")).toBe(0);
    const [event] = world.takeEvents();
    expect(event?.notes).toContain(
      `The VM's network card 0 ("n0"): QEMU's user network at the source; at the destination ${there}`,
    );
    const restrict = `user,id=n0,restrict=${there === "nothing" ? "on" : "off"}`;
    expect(event?.command).toContain(restrict);
  }
});

test("a socket that nobody listens on is told apart from a word that names none", async () => {
  expect(await run(`qmp:${folder}/none`, "--json")).toBe(6);
  expect(world.takeEvents()).toMatchObject([{ event: "error", code: "vm-invalid" }]);
  for (const words of [[], ["qmp:"], ["qmp:x", "--net", "bridge:../x"], ["qmp:x", "a", "b"]]) {
    expect(await run(...words, "--json")).toBe(2);
    expect(world.takeEvents()).toMatchObject([{ event: "error", code: "usage" }]);
  }
});
