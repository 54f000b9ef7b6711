/**
 * Homes of version 0.1.0 (test/fixtures/home-0.1.0), in which sessions do not name their provider: a source
 * and a destination that know each other, with sessions in every state that a crash or a person can leave one
 * in.
 */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { TrustFile } from "../../../src/channel/trust.ts";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { killChildren } from "../../support/system/child.ts";
import { runMigrate } from "../../support/system/process.ts";

const fixture = join(import.meta.dir, "../../fixtures/home-0.1.0");
const homes = ["source", "destination"] as const;

let root: string;
const home = (side: (typeof homes)[number]) => join(root, side);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-older-"));
  for (const side of homes) {
    cpSync(join(fixture, side), home(side), { recursive: true });
    chmodSync(home(side), 0o700);
    for (const name of ["identity.pem", "trust", "journal.sqlite"]) chmodSync(join(home(side), name), 0o600);
  }
});
afterEach(async () => {
  await killChildren();
  rmSync(root, { recursive: true, force: true });
});

const run = async (side: (typeof homes)[number], ...argv: string[]) => {
  const process = runMigrate([...argv, "--json"], { home: home(side) });
  const { code } = await process.exit;
  return { code, events: process.events as unknown as Record<string, unknown>[] };
};

const identityOf = (side: (typeof homes)[number]) =>
  loadIdentity(home(side), { passphrase: () => Promise.reject(new Error("it is not sealed")) });

const secret = "S3CRET-TOKEN";

/** How often the secret stands in the files of a database. */
function leftOf(path: string): number {
  const texts = [path, `${path}-wal`].filter(existsSync).map((file) => readFileSync(file, "latin1"));
  return texts.join("").split(secret).length - 1;
}

describe("a journal of version 0.1.0", () => {
  test("opens with every session as it was, and names the provider of each", () => {
    const seen = homes.flatMap((side) => {
      const journal = Journal.open(home(side));
      const rows = journal.all();
      journal.close();
      return rows.map(({ name, state, provider, kept }) => [side, name, state, provider, kept !== null]);
    });
    const files = (side: string, states: Record<string, string>) =>
      Object.entries(states).map(([name, state]) => [side, name, state, "files", false]);
    const qemu = (side: string, states: Record<string, string>) =>
      Object.entries(states).map(([name, state]) => [side, name, state, "qemu", true]);
    expect(seen.sort()).toEqual(
      [
        ...files("source", { moved: "confirmed", copied: "confirmed", sending: "sending", ready: "sending" }),
        ...files("source", { released: "released", confirmed: "confirmed" }),
        ...files("source", { cancelled: "cancelled", untold: "cancelled" }),
        ...qemu("source", { live: "confirmed", halfway: "confirmed", underway: "sending" }),
        ...files("destination", { moved: "closed", copied: "closed", sending: "receiving", ready: "ready" }),
        ...files("destination", { released: "ready", confirmed: "owner" }),
        ...files("destination", { cancelled: "cancelled", untold: "cancelled" }),
        ...qemu("destination", { live: "closed", halfway: "closed", underway: "receiving" }),
      ].sort(),
    );
  });

  test("is of this version from then on, and opens again", () => {
    for (let times = 0; times < 2; times++) Journal.open(home("source")).close();
    const database = new Database(join(home("source"), "journal.sqlite"));
    expect(database.query("PRAGMA user_version").get()).toEqual({ user_version: 7 });
    database.close();
  });

  test("keeps how far this host was, before its TPM was counted", () => {
    const path = join(home("source"), "journal.sqlite");
    Journal.open(home("source")).close();
    const database = new Database(path);
    database.run("ALTER TABLE ownGeneration DROP COLUMN tpm");
    database.run("INSERT INTO ownGeneration VALUES (1, 5, 4)");
    database.run("PRAGMA user_version = 6");
    database.close();
    for (let times = 0; times < 2; times++) {
      const journal = Journal.open(home("source"));
      expect(journal.receipts.own()).toEqual({ generation: 5, witness: 4, tpm: null });
      journal.close();
    }
  });

  // [MODEL-5]
  test("keeps no command line of a VM, not in its freed pages or its log either", async () => {
    for (const side of homes) {
      const path = join(home(side), "journal.sqlite");
      const database = new Database(path);
      database.run("PRAGMA journal_mode = WAL");
      const machine = { words: ["qemu-system-x86_64", "-name", secret.repeat(2000)], machineType: "pc" };
      const rows = "UPDATE sessions SET machine = json_patch(coalesce(machine, '{}'), ?)";
      database.query(`${rows} WHERE machine IS NOT NULL`).run(JSON.stringify(machine));
      // A row that is gone leaves its pages behind; and this process does not let go of the log.
      database.query(`${rows} WHERE name = 'moved'`).run(JSON.stringify(machine));
      database.run("DELETE FROM sessions WHERE name = 'moved'");
      expect(leftOf(path)).toBeGreaterThan(0);
      Journal.open(home(side)).close();
      database.close();
      const journal = Journal.open(home(side));
      const kept = journal.all().flatMap(({ kept }) => kept ?? []);
      journal.close();
      expect(kept).toHaveLength(3);
      for (const one of kept) expect(Object.keys(one)).not.toContain("words");
      expect(leftOf(path)).toBe(0);
    }
  });

  test("shows who owns what, as it did", async () => {
    const { code, events } = await run("source", "status");
    expect(code).toBe(0);
    expect(Object.fromEntries(events.map(({ name, owner }) => [name, owner]))).toEqual({
      sending: "source",
      ready: "source",
      released: "nobody yet",
      confirmed: "destination",
      underway: "source",
    });
    expect((await run("destination", "history")).events.map(({ name }) => name)).toContain("moved");
  });

  test.each([
    ["sending", 0],
    ["underway", 0],
    ["released", 6],
    ["confirmed", 6],
  ] as const)("lets a person give up %s with exit code %p", async (name, expected) => {
    const journal = Journal.open(home("source"));
    const { session } = journal.all("source").find((record) => record.name === name)!;
    journal.close();
    expect((await run("source", "resolve", session, "--cancel")).code).toBe(expected);
  });
});

test("identities and trust files of version 0.1.0 let a VM move without a ticket", async () => {
  const identities = await Promise.all(homes.map(identityOf));
  expect(TrustFile.load(home("destination")).allows(identities[0]!.fingerprint, "source")).toBe(true);
  const serve = runMigrate(
    ["serve", "--listen", "127.0.0.1:0", "--store", join(root, "store"), "--once", "--json"],
    { home: home("destination") },
  );
  const { address, fingerprint } = await serve.waitFor("listening");
  expect(fingerprint).toBe(identities[1]!.fingerprint);
  // The port differs from that in the fixture: a person would edit the line as well.
  const trust = readFileSync(join(home("source"), "trust"), "utf8");
  expect(trust).toContain("127.0.0.1:7600");
  writeFileSync(join(home("source"), "trust"), trust.replace("127.0.0.1:7600", address));
  const vm = makeSmallVm(join(root, "web1"));
  expect((await run("source", "send", vm.folder, address)).code).toBe(0);
  expect(await serve.exit).toMatchObject({ code: 0 });
});
