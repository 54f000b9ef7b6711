/** `migrate resolve`, `status` and `history` in every state that a cut can leave a session in, on both sides. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { FrameName } from "../../src/protocol/frames.ts";
import { makeSmallVm, type SmallVm } from "../support/files/small-vm.ts";
import type { CuttingProxy } from "../support/moves/cutting-proxy.ts";
import { eachTestHasLink } from "../support/moves/hosts-of-tests.ts";
import {
  expectMoved,
  expectOneOwner,
  type Hosts,
  sessionsIn,
  wholeAtSource,
} from "../support/moves/ownership.ts";
import { type Sent, sendOnce } from "../support/moves/sending.ts";
import { type Serving, startServing } from "../support/moves/serving.ts";
import { type MigrateProcess, runMigrate } from "../support/system/process.ts";

let root: string;
let vm: SmallVm;
let hosts: Hosts;
let serving: Serving;
let proxy: CuttingProxy;

eachTestHasLink("migrate-resolve-", (made) => {
  ({ root, vm, hosts, serving, proxy } = made);
});

/** What a link that breaks before a frame leaves behind. */
const situations = {
  receiving: { before: "seal", source: "sending", destination: "receiving" },
  whole: { before: "ready", source: "sending", destination: "ready" },
  released: { before: "release", source: "released", destination: "ready" },
  owned: { before: "owned", source: "released", destination: "owner" },
  known: { before: "confirm", source: "confirmed", destination: "owner" },
  over: { before: "closed", source: "confirmed", destination: "closed" },
} as const;
type Situation = keyof typeof situations;

const send = (retryForMs = 5_000): Promise<Sent> =>
  sendOnce({ home: hosts.sourceHome, vm: vm.spec, address: proxy.address, retryForMs });

const states = () => ({
  source: sessionsIn(hosts.sourceHome, "source").at(-1)?.state,
  destination: sessionsIn(hosts.destinationHome, "destination").at(-1)?.state,
});

async function leave(situation: Situation): Promise<void> {
  const { before, source, destination } = situations[situation];
  proxy.breakBefore = (_direction, name: FrameName) => name === before;
  await send(0);
  proxy.breakBefore = undefined;
  expect(states()).toEqual({ source, destination });
  expectOneOwner(vm, hosts, situation);
}

type Side = "source" | "destination";
const homeOf = (side: Side) => (side === "source" ? hosts.sourceHome : hosts.destinationHome);
const sessionOf = (side: Side) => sessionsIn(homeOf(side), side).at(-1)!.session;

function resolve(side: Side, words: string[]): MigrateProcess {
  const fixed = ["resolve", sessionOf(side).slice(0, 16), "--retry-for", "2s", "--insecure", "--json"];
  return runMigrate([...fixed, ...words], { home: homeOf(side) });
}

/** Says a word on a side and sees the exit code. */
async function expectResolved(side: Side, words: string[], code: number): Promise<MigrateProcess> {
  const resolving = resolve(side, words);
  expect(await resolving.exit, resolving.stdout() + resolving.stderr()).toEqual({ code, signal: null });
  expect(resolving.strayLines).toEqual([]);
  return resolving;
}

const stays = "as it was";
type End = "moved" | "at the source" | typeof stays;

/** side, situation, words, exit code, and where the VM is then: settled, or as the situation left it. */
const words: [Side, Situation, string, number, End][] = [
  ["source", "receiving", "", 7, stays],
  ["source", "receiving", "--cancel", 0, "at the source"],
  ["source", "receiving", "--owner source", 0, stays],
  ["source", "receiving", "--owner destination", 6, stays],
  ["source", "whole", "", 7, stays],
  ["source", "whole", "--cancel", 0, "at the source"],
  ["source", "whole", "--owner destination", 6, stays],
  ["source", "released", "", 0, "moved"],
  ["source", "released", "--cancel", 6, stays],
  ["source", "owned", "", 0, "moved"],
  ["source", "owned", "--cancel", 6, stays],
  ["source", "known", "", 0, "moved"],
  ["source", "known", "--cancel", 6, stays],
  ["source", "known", "--owner source", 6, stays],
  ["source", "over", "", 0, "moved"],
  ["source", "over", "--owner source", 6, stays],
  ["destination", "receiving", "", 7, stays],
  ["destination", "receiving", "--cancel", 0, "at the source"],
  ["destination", "receiving", "--owner source", 0, "at the source"],
  ["destination", "receiving", "--owner destination", 6, stays],
  ["destination", "whole", "", 7, stays],
  ["destination", "whole", "--cancel", 7, stays],
  ["destination", "whole", "--owner source", 0, "at the source"],
  ["destination", "released", "", 7, stays],
  ["destination", "released", "--cancel", 7, stays],
  ["destination", "owned", "--cancel", 6, stays],
  ["destination", "owned", "--owner source", 6, stays],
  ["destination", "known", "--owner source", 6, stays],
  ["destination", "over", "", 0, stays],
  ["destination", "over", "--owner source", 6, stays],
];

for (const [side, situation, word, code, end] of words) {
  const { source, destination } = situations[situation];
  test(`on the ${side}, ${source} here and ${destination} there: "resolve ${word}" exits ${code}, the VM is ${end}`, async () => {
    await leave(situation);
    await expectResolved(side, word === "" ? [] : word.split(" "), code);
    expectOneOwner(vm, hosts, `${situation} ${word}`);
    switch (end) {
      case "moved":
        expectMoved(vm, hosts, `${situation} ${word}`);
        break;
      case stays: {
        // Nothing is lost by it: the same command as ever ends the migration.
        expect(states()).toEqual({ source, destination });
        const { error } = await send();
        if (error !== undefined) expect(error.code).toBe("not-owner");
        expectMoved(vm, hosts, `${situation} ${word}, then sent`);
        break;
      }
      case "at the source":
        expect(wholeAtSource(vm)).toBe(vm.folder);
        expect(states()[side]).toBe("cancelled");
        expect(states().destination).toBe("cancelled");
        expect(readdirSync(hosts.store)).toEqual([".migrate-lock"]);
        break;
    }
  });
}

describe("a person's word where the other host is gone for good", () => {
  test("released, and the destination lost: --owner source gives the VM back, and it can be sent anew", async () => {
    await leave("released");
    await serving.stop();
    const asked = await expectResolved("source", [], 7);
    expect(asked.events.at(-1)).toMatchObject({ event: "error", code: "in-doubt" });
    await expectResolved("source", ["--owner", "source"], 0);
    expect(states().source).toBe("cancelled");
    expect(wholeAtSource(vm)).toBe(vm.folder);
    serving = await startServing({ home: join(root, "c"), store: join(root, "other-store") });
    expect((await send()).error).toBeUndefined();
    expectMoved(vm, { ...hosts, destinationHome: join(root, "c"), store: join(root, "other-store") }, "anew");
  });

  test("released, and taken back while the destination was away: it lets go when it is there again", async () => {
    await leave("released");
    await expectResolved("source", ["--owner", "source"], 0);
    // The next word with it tells it; the VM goes over as a session of its own.
    expect((await send()).error).toBeUndefined();
    expectMoved(vm, hosts, "taken back, sent again");
    const all = sessionsIn(hosts.destinationHome, "destination").map(({ state }) => state);
    expect(all.sort()).toEqual(["cancelled", "closed"]);
    expect(readdirSync(hosts.store).sort()).toEqual([".migrate-lock", vm.name]);
  });

  // [OWN-11]
  test("released, and the source lost: --owner destination publishes the VM, whole", async () => {
    await leave("released");
    await expectResolved("destination", ["--owner", "destination"], 6);
    await expectResolved("destination", ["--owner", "destination", "--code", "0123-4567-89ab-cdef-0123"], 6);
    expect(states().destination).toBe("ready");
    const shown = runMigrate(["status"], { home: hosts.sourceHome });
    expect(await shown.exit).toMatchObject({ code: 0 });
    const [, code] = /--owner destination --code ([0-9a-f-]{24})/.exec(shown.stdout() + shown.stderr())!;
    await expectResolved("destination", ["--owner", "destination", "--code", code!.toUpperCase()], 0);
    expect(states().destination).toBe("owner");
    expect(existsSync(join(hosts.store, vm.name, "vm.json"))).toBe(true);
    expectOneOwner(vm, hosts, "by word");
    // It takes no room among the sessions under way, whose source may never come back.
    const status = runMigrate(["status", "--json"], { home: hosts.destinationHome });
    expect(await status.exit).toMatchObject({ code: 0 });
    expect(status.events).toEqual([]);
    // The source is there after all: it hears who owns the VM, and both close their books.
    expect((await send()).error).toBeUndefined();
    expectMoved(vm, hosts, "by word, then confirmed");
  });

  test("released, and given back to the source by the destination: the source hears it and owns the VM", async () => {
    await leave("released");
    await expectResolved("destination", ["--owner", "source"], 0);
    const { error } = await send();
    expect(error).toMatchObject({ code: "cancelled", exitCode: 6 });
    expect(states()).toEqual({ source: "cancelled", destination: "cancelled" });
    expect(wholeAtSource(vm)).toBe(vm.folder);
    expect((await send()).error).toBeUndefined();
    expectMoved(vm, hosts, "given back, sent again");
  });

  test("released, and the destination is known to have it: --owner destination ends the session and retires the files", async () => {
    await leave("owned");
    await serving.stop();
    await expectResolved("source", ["--owner", "destination"], 0);
    expect(wholeAtSource(vm)).toBe(`${vm.folder}.migrated`);
    const history = runMigrate(["history", "--json"], { home: hosts.sourceHome });
    await history.exit;
    expect(history.events).toMatchObject([{ name: vm.name, state: "confirmed", owner: "destination" }]);
  });

  test("confirmed, and the destination never heard: --owner destination ends the session here", async () => {
    await leave("known");
    await serving.stop();
    await expectResolved("source", ["--owner", "destination"], 0);
    const status = runMigrate(["status", "--json"], { home: hosts.sourceHome });
    await status.exit;
    expect(status.events).toEqual([]);
  });

  test("a wrong word is found out: what was never released and is owned there is in doubt, and neither is touched", async () => {
    await leave("whole");
    // The source has released nothing: nobody there can show a code.
    const shown = runMigrate(["status", "--json"], { home: hosts.sourceHome });
    await shown.exit;
    expect(shown.events).toMatchObject([{ state: "sending" }]);
    expect(shown.events[0]).not.toHaveProperty("releaseCode");
    await expectResolved("destination", ["--owner", "destination"], 6);
    await expectResolved("destination", ["--owner", "destination", "--without-code"], 0);
    const { error } = await send();
    expect(error).toMatchObject({ code: "in-doubt", exitCode: 7 });
    expect(wholeAtSource(vm)).toBe(vm.folder);
    expect(existsSync(join(hosts.store, vm.name))).toBe(true);
  });
});

test("a destination whose journal was lost after the release: in doubt, never a second copy, and a word settles it", async () => {
  await leave("released");
  await serving.stop();
  rmSync(hosts.destinationHome, { recursive: true });
  serving = await startServing({ home: hosts.destinationHome, store: hosts.store });
  const { error } = await send();
  expect(error).toMatchObject({
    code: "in-doubt",
    exitCode: 7,
    message: expect.stringContaining("no record"),
  });
  await expectResolved("source", [], 7);
  expect(wholeAtSource(vm)).toBe(vm.folder);
  await expectResolved("source", ["--owner", "source"], 0);
  expect((await send()).error).toBeUndefined();
  expectMoved(vm, hosts, "journal lost");
});

test("a session that was given up while the destination was away is told of at the next word with it", async () => {
  await leave("receiving");
  await serving.stop();
  const given = await expectResolved("source", ["--cancel"], 0);
  expect(given.events).toContainEqual(expect.objectContaining({ event: "warning" }));
  serving = await startServing({ home: hosts.destinationHome, store: hosts.store });
  const other = makeSmallVm(join(root, "other"), { seed: 2 });
  const sent = await sendOnce({ home: hosts.sourceHome, vm: other.spec, address: proxy.address });
  expect(sent.error).toBeUndefined();
  expect(readdirSync(hosts.store).sort()).toEqual([".migrate-lock", "other"]);
});

test("a copy that was given up after it had been published is heard of, and stands in nobody's way", async () => {
  proxy.breakBefore = (_direction, name) => name === "published";
  await sendOnce({ home: hosts.sourceHome, vm: vm.spec, address: proxy.address, copy: true, retryForMs: 0 });
  proxy.breakBefore = undefined;
  expect(states().destination).toBe("published");
  await expectResolved("source", ["--cancel"], 0);
  const other = makeSmallVm(join(root, "other"), { seed: 2 });
  const sent = await sendOnce({ home: hosts.sourceHome, vm: other.spec, address: proxy.address });
  expect(sent.error).toBeUndefined();
  expect(wholeAtSource(vm)).toBe(vm.folder);
});

const owners: [Situation, string, string][] = [
  ["receiving", "source", "source"],
  ["whole", "source", "nobody yet"],
  ["released", "nobody yet", "nobody yet"],
  ["owned", "nobody yet", "destination"],
  ["known", "destination", "destination"],
];
for (const [situation, atSource, atDestination] of owners) {
  const { source, destination } = situations[situation];
  test(`status of a session that is ${source} and ${destination} says who may start the VM, here and over there`, async () => {
    await leave(situation);
    const here = runMigrate(
      ["status", `${serving.address.host}:${serving.address.port}`, "--insecure", "--json"],
      {
        home: hosts.sourceHome,
      },
    );
    expect(await here.exit).toEqual({ code: 0, signal: null });
    const common = {
      name: vm.name,
      mode: "move",
      bytes: vm.files.reduce((sum, { bytes }) => sum + bytes, 0),
    };
    expect(here.events.filter(({ event }) => event === "status")).toMatchObject([
      { ...common, where: "here", side: "source", state: source, owner: atSource },
      { ...common, side: "destination", state: destination, owner: atDestination },
    ]);
    const there = runMigrate(["status", "--json"], { home: hosts.destinationHome });
    await there.exit;
    expect(there.events).toMatchObject([{ side: "destination", state: destination, owner: atDestination }]);
    expect((await send()).error).toBeUndefined();
    for (const home of [hosts.sourceHome, hosts.destinationHome]) {
      const [open, past] = [["status"], ["history"]].map((name) => runMigrate([...name, "--json"], { home }));
      await Promise.all([open!.exit, past!.exit]);
      expect(open!.events).toEqual([]);
      expect(past!.events).toMatchObject([{ name: vm.name, owner: "destination" }]);
    }
  });
}
