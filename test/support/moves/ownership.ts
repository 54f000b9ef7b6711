/**
 * Looks at both hosts of a migration from outside, at their journals and their files alone, and says
 * what must never be: two owners, or no complete copy.
 */
import { Database } from "bun:sqlite";
import { expect } from "bun:test";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SessionRecord } from "../../../src/migration/journal/journal.ts";
import { destinationMayRun, sourceMayRun } from "../../../src/migration/ownership/owner.ts";
import type { DestinationRecord, SourceRecord } from "../../../src/migration/ownership/records.ts";
import { hashOf, type SmallVm } from "../files/small-vm.ts";

export interface Hosts {
  sourceHome: string;
  destinationHome: string;
  store: string;
}

/** What is looked at of a session. */
export type SeenSession = Pick<
  SessionRecord,
  "session" | "name" | "mode" | "state" | "digest" | "doneBytes"
> & {
  settled: number;
};

/**
 * The sessions of one side in a home's journal, oldest first; none where there is no journal. Only
 * reads, so that a process that was stopped while it wrote holds nothing up.
 */
export function sessionsIn(home: string, side: "source" | "destination"): SeenSession[] {
  if (!existsSync(join(home, "journal.sqlite"))) return [];
  // SQLite does not find its way through /proc/PID/root.
  const copy = home.startsWith("/proc/") ? copyOfJournal(home) : undefined;
  try {
    return readSessions(join(copy ?? home, "journal.sqlite"), side);
  } finally {
    if (copy !== undefined) rmSync(copy, { recursive: true });
  }
}

function copyOfJournal(home: string): string {
  const copy = mkdtempSync(join(tmpdir(), "migrate-journal-"));
  for (const name of ["journal.sqlite", "journal.sqlite-wal"]) {
    if (existsSync(join(home, name))) copyFileSync(join(home, name), join(copy, name));
  }
  return copy;
}

function readSessions(path: string, side: "source" | "destination"): SeenSession[] {
  const database = new Database(path, { readwrite: true, strict: true });
  try {
    // Whoever closes the journal last locks out readers too, while it clears the log away.
    database.run("PRAGMA busy_timeout = 10000");
    const sql =
      "SELECT session, name, mode, state, digest, settled, doneBytes FROM sessions WHERE side = $side ORDER BY createdAtMs";
    return database.query<SeenSession, { side: string }>(sql).all({ side });
  } catch (thrown) {
    // Killed before it had made its table.
    if (String(thrown).includes("no such table")) return [];
    throw thrown;
  } finally {
    database.close();
  }
}

/** True where the VM's files are there, whole and unchanged, each in `folder` under its base name and `suffix`. */
function isWhole(vm: SmallVm, folder: string, suffix = ""): boolean {
  return vm.files.every(({ base, hash }) => {
    const path = join(folder, base + suffix);
    return existsSync(path) && hashOf(path) === hash;
  });
}

/** As `isWhole`, of what a move leaves: the state of a TPM, and the saved RAM with it, are destroyed. */
function isLeft(vm: SmallVm, folder: string, suffix = ""): boolean {
  const hasTpm = vm.files.some(({ kind }) => kind === "tpm");
  const isDestroyed = ({ kind }: { kind: string }) => hasTpm && (kind === "tpm" || kind === "ram");
  const isReadable = vm.files.some(
    (file) => isDestroyed(file) && existsSync(join(folder, file.base + suffix)),
  );
  return (
    !isReadable && isWhole({ ...vm, files: vm.files.filter((file) => !isDestroyed(file)) }, folder, suffix)
  );
}

/** Where the source's files are now, whole but for what a move destroys of them; null where they are not. */
export function wholeAtSource(vm: SmallVm): string | null {
  if (isWhole(vm, vm.folder)) return vm.folder;
  const isAside = isLeft(vm, `${vm.folder}.migrated`) || isLeft(vm, vm.folder, ".migrated");
  return isAside ? `${vm.folder}.migrated` : null;
}

/**
 * Throws (by `expect`) where what is on the two hosts now could give the VM two owners or none. To be
 * asked at any moment, a crash included. `context` is said where it does.
 */
export function expectOneOwner(vm: SmallVm, hosts: Hosts, context: string): void {
  const sources = sessionsIn(hosts.sourceHome, "source").filter(({ name }) => name === vm.name);
  const destinations = sessionsIn(hosts.destinationHome, "destination").filter(
    ({ name }) => name === vm.name,
  );
  const released = sources.filter(
    ({ state, mode }) => mode === "move" && !sourceMayRun(state as SourceRecord, mode),
  );
  const owned = destinations.filter(({ state, mode }) => destinationMayRun(state as DestinationRecord, mode));
  const atSource = wholeAtSource(vm);
  const published = join(hosts.store, vm.name);
  const facts = JSON.stringify({
    sources: sources.map(({ state, settled }) => [state, settled]),
    destinations: destinations.map(({ state, settled }) => [state, settled]),
    atSource,
    published: existsSync(published),
  });
  const say = (what: string) => `${context}: ${what} ${facts}`;

  expect(released.length, say("released more than once")).toBeLessThanOrEqual(1);
  expect(owned.length, say("owned more than once")).toBeLessThanOrEqual(1);
  for (const { session } of owned) {
    // Two owners: the destination may run what the source has not let go of.
    expect(
      released.map((record) => record.session),
      say("two owners"),
    ).toContain(session);
  }
  if (released.length === 0) {
    expect(atSource, say("the source's copy must be whole and in its place")).toBe(vm.folder);
    const moved = destinations.some(({ mode }) => mode === "move");
    if (moved) expect(existsSync(published), say("published and not owned")).toBe(false);
    return;
  }
  const [only] = released;
  const there = destinations.find(({ session }) => session === only!.session);
  expect(there?.state, say("released to nobody")).toBeOneOf(["ready", "owner", "closed"]);
  const staged = join(hosts.store, `.migrate-${only!.session}`);
  expect(isWhole(vm, published) || isWhole(vm, staged), say("the destination's copy is not whole")).toBe(
    true,
  );
  if (existsSync(published))
    expect(there?.state, say("published before it was owned")).toBeOneOf(["owner", "closed"]);
  if (owned.length === 0)
    expect(atSource, say("nobody owns it yet, and the source's copy is gone")).toBe(vm.folder);
}

/** Throws where the move has not ended as it should: the VM there, whole, alone, and nothing left behind. */
export function expectMoved(
  vm: SmallVm,
  hosts: Hosts,
  context: string,
  after: "keep" | "rename" | "delete" = "rename",
): void {
  expectOneOwner(vm, hosts, context);
  const source = sessionsIn(hosts.sourceHome, "source")
    .filter(({ name }) => name === vm.name)
    .at(-1);
  const there = sessionsIn(hosts.destinationHome, "destination").find(
    ({ session }) => session === source?.session,
  );
  expect([source?.state, source?.settled, there?.state, there?.settled], context).toEqual([
    "confirmed",
    1,
    "closed",
    1,
  ]);
  expect(there?.digest, context).toBe(source!.digest);
  const published = join(hosts.store, vm.name);
  expect(isWhole(vm, published), `${context}: the bytes in the store`).toBe(true);
  const manifest = JSON.parse(readFileSync(join(published, "vm.json"), "utf8")) as {
    ownership: { state: string; session: string };
  };
  expect(manifest.ownership, context).toMatchObject({ state: "owner", session: source!.session });
  const names = vm.files.map(({ base }) => base.split("/")[0]!);
  expect(readdirSync(published).sort(), context).toEqual([...new Set([...names, "vm.json"])].sort());
  expect(
    readdirSync(hosts.store).filter((name) => name.startsWith(`.migrate-${source!.session}`)),
    `${context}: the staged folder is gone`,
  ).toEqual([]);
  const places = { keep: vm.folder, rename: `${vm.folder}.migrated`, delete: null };
  expect(wholeAtSource(vm), context).toBe(places[after]);
}
