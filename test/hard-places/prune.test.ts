/** `migrate prune`: what is over goes, once it is old enough and a word is said; all else stays, whatever is under way. */
import { expect, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { which } from "../../src/platform/host.ts";
import { unmarkReleased } from "../../src/vm/folder/release-mark.ts";
import { RunFolder } from "../../src/vm/qemu/run-folder.ts";
import type { SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved } from "../support/moves/ownership.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import { startChild } from "../support/system/child.ts";
import type { MigrateProcess } from "../support/system/process.ts";
import { until } from "../support/system/until.ts";

let root: string;
let vm: SmallVm;
let hosts: TwoHosts;

eachTestHasHosts("prune-", (made) => {
  ({ root, vm, hosts } = made);
});

interface Row {
  kind: string;
  path: string;
  goes: boolean;
  stays?: string;
}

type Side = "source" | "destination";

/** `migrate prune` on one of the hosts, with a cache of its own: the rows, and what went. */
async function prune(side: Side, ...words: string[]) {
  const env = { XDG_CACHE_HOME: join(root, "cache") };
  const pruning = hosts[side](["prune", ...words], { env });
  const { code } = await pruning.exit;
  const events = pruning.events as unknown as ({ event: string } & Row & { removed?: string[] })[];
  const rows = events.filter(({ event }) => event === "leftover");
  return { code, rows, removed: events.find(({ event }) => event === "pruned")?.removed ?? null };
}

const rowOf = (rows: readonly Row[], path: string) => rows.find((row) => row.path === path);

async function moved(): Promise<{ serve: MigrateProcess; aside: string }> {
  const serve = await hosts.serve();
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  return { serve, aside: `${vm.folder}.migrated` };
}

test("what was moved away goes when it is old enough and a word is said, and then its session", async () => {
  const { aside } = await moved();
  writeFileSync(join(aside, "notes.txt"), "mine");
  const young = await prune("source", "--yes");
  expect(rowOf(young.rows, aside)).toMatchObject({
    kind: "migrated",
    goes: false,
    stays: "it is not old enough",
  });
  expect(young.removed).toBeNull();
  const shown = await prune("source", "--older-than", "0");
  expect(rowOf(shown.rows, aside)).toMatchObject({ goes: true });
  expect(shown.removed).toBeNull();
  expect(readdirSync(aside)).toContain("vm.json");

  // What is not the VM's own keeps its folder.
  const first = await prune("source", "--older-than", "0", "--yes");
  expect(first.code).toBe(5);
  expect(readdirSync(aside)).toEqual(["notes.txt"]);
  renameSync(join(aside, "notes.txt"), join(root, "notes.txt"));
  expect(await prune("source", "--older-than", "0", "--yes")).toMatchObject({ code: 0 });
  expect(existsSync(aside)).toBe(false);

  const history = hosts.source(["history"]);
  await history.exit;
  expect(history.events).toEqual([]);
  const last = await prune("source", "--older-than", "0", "--yes");
  expect(last.rows).toEqual([]);
  // The VM itself is where it is, and its session, which says so.
  const there = await prune("destination", "--older-than", "0", "--yes");
  expect(there.rows.filter(({ goes }) => goes)).toEqual([]);
  const verify = hosts.destination(["verify", join(hosts.store, vm.name)]);
  expect(await verify.exit).toMatchObject({ code: 0 });
});

test("what no session, or not its own mark, accounts for stays, and what a process has open", async () => {
  const { aside } = await moved();
  const strange = join(vm.folder, "..", "other.migrated");
  writeFileSync(strange, "somebody's");
  const [file] = vm.files;
  const path = join(aside, file!.base);
  const reader = startChild(["sh", "-c", 'exec 3< "$1"; echo open; exec sleep 1000', "sh", path]);
  await until(() => reader.stdout().includes("open"), "a reader");
  const held = await prune("source", "--older-than", "0", "--yes");
  expect(rowOf(held.rows, aside)).toMatchObject({
    goes: false,
    stays: expect.stringMatching(new RegExp(`^${file!.base} is open in sleep \\(process \\d+\\)$`)),
  });
  expect(rowOf(held.rows, strange)).toMatchObject({
    goes: false,
    stays: "no session of this home's journal put it there",
  });
  await reader.kill();

  const history = hosts.source(["history"]);
  await history.exit;
  const { session } = history.events[0] as unknown as { session: string };
  unmarkReleased(path, session);
  const unmarked = await prune("source", "--older-than", "0", "--yes");
  expect(rowOf(unmarked.rows, aside)).toMatchObject({
    goes: false,
    stays: `${file!.base} does not say that this session released it`,
  });
  expect(existsSync(strange)).toBe(true);
  expect(existsSync(path)).toBe(true);
  // Its session is what tells of it.
  const after = hosts.source(["history"]);
  await after.exit;
  expect(after.events).toHaveLength(history.events.length);
});

test("a move that is under way ends as it would have, and nothing of it goes", async () => {
  await hosts.serve();
  const known = "5a".repeat(16);
  const unknown = join(hosts.store, `.migrate-${known}`);
  mkdirSync(unknown);
  writeFileSync(join(unknown, "disk"), "whose?");
  const send = hosts.send(vm.folder, ["--bandwidth", "512K"]);
  const { session } = await send.waitFor("session");
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  const staging = join(hosts.store, `.migrate-${session}`);
  expect(existsSync(staging)).toBe(true);
  for (const side of ["source", "destination"] as const) {
    const { code, rows } = await prune(side, "--older-than", "0", "--yes");
    expect(code).toBe(0);
    expect(rows.filter(({ goes }) => goes)).toEqual([]);
  }
  const { rows } = await prune("destination", "--older-than", "0");
  expect(rowOf(rows, staging)).toMatchObject({ kind: "staging", stays: "its session has not ended" });
  expect(rowOf(rows, unknown)).toMatchObject({ stays: "this home's journal does not know its session" });
  expect(await send.exit).toMatchObject({ code: 0 });
  expect(existsSync(unknown)).toBe(true);
  expectMoved(vm, hosts, "beside prunes");
}, 60_000);

test("what was received of a session that was given up goes, and so does a run folder of a VM that has ended", async () => {
  const serve = await hosts.serve();
  const send = hosts.send(vm.folder, ["--bandwidth", "64K"]);
  const { session } = await send.waitFor("session");
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  await send.kill();
  await serve.kill();
  const staging = join(hosts.store, `.migrate-${session}`);
  const kept = `${staging}.kept`;
  renameSync(staging, kept);
  expect(await hosts.destination(["resolve", session, "--cancel"]).exit).toMatchObject({ code: 0 });
  // As if it had been killed before it was removed.
  renameSync(kept, staging);
  const run = RunFolder.at(hosts.destinationHome, "db1");
  run.make("7c".repeat(16));
  const old = new Date(Date.now() - 2 * 3_600_000);
  utimesSync(run.path, old, old);
  const { code, rows, removed } = await prune("destination", "--older-than", "0", "--yes");
  expect(code).toBe(0);
  expect(rowOf(rows, staging)).toMatchObject({ kind: "staging", goes: true });
  expect(rowOf(rows, run.path)).toMatchObject({ kind: "run-folder", goes: true });
  expect(removed).toEqual(expect.arrayContaining([staging, run.path]));
  expect(existsSync(staging)).toBe(false);
  expect(existsSync(run.path)).toBe(false);
});

test("a copy of this program goes, unless a process runs from it", async () => {
  const cache = join(root, "cache", "migrate");
  const copy = (digit: string) => {
    const folder = join(cache, digit.repeat(64));
    mkdirSync(folder, { recursive: true });
    copyFileSync(which("sleep")!, join(folder, "migrate"));
    chmodSync(join(folder, "migrate"), 0o700);
    return folder;
  };
  const [used, unused] = [copy("a"), copy("b")];
  mkdirSync(join(cache, "elsewhat"));
  const running = startChild([join(used, "migrate"), "1000"]);
  const { code, rows, removed } = await prune("source", "--older-than", "0", "--yes");
  expect(code).toBe(0);
  expect(rowOf(rows, used)).toMatchObject({ kind: "binary", stays: `process ${running.pid} runs from it` });
  expect(removed).toEqual([unused]);
  expect(readdirSync(cache).sort()).toEqual(["a".repeat(64), "elsewhat"]);
});
