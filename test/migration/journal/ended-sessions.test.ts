import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHome } from "../../../src/home/home.ts";
import { journalKeeps } from "../../../src/migration/journal/ended-sessions.ts";
import { Journal, type SessionRecord } from "../../../src/migration/journal/journal.ts";
import { recordOfOffer } from "../../../src/migration/journal/offer-record.ts";
import { emptyOffer } from "../destination/played-destination.ts";

let root: string;
let home: string;
let journal: Journal;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-ended-"));
  home = openHome(join(root, "home"));
  journal = Journal.open(home);
});
afterEach(() => {
  journal.close();
  rmSync(root, { recursive: true, force: true });
});

const idOf = (number: number) => number.toString(16).padStart(32, "0");
const hourMs = 3_600_000;
const nothingLeft = () => false;

interface Made extends Partial<SessionRecord> {
  number: number;
  peer: string;
}

function recordOf({ number, peer, ...change }: Made): SessionRecord {
  const atMs = change.createdAtMs ?? number * hourMs;
  const origin = {
    peer,
    address: "192.0.2.1",
    attempt: 1,
    store: "/store",
    nowMs: atMs,
    bytes: 0,
    kept: null,
  };
  return { ...recordOfOffer(idOf(number), emptyOffer, origin), ...change };
}

/** A session that came and is over; many in one write, since each write waits for the disk. */
function ended(made: Made): void {
  const { state = "closed", ...rest } = made;
  const record = recordOf(rest);
  journal.insert({ ...record, state: "receiving" });
  const steps = state === "cancelled" ? ["cancelled"] : ["ready", "owner", "closed"];
  let from: SessionRecord["state"] = "receiving";
  for (const to of steps as ("ready" | "owner" | "closed" | "cancelled")[]) {
    journal.step(record.session, { side: "destination", from: from as "ready", to });
    from = to;
  }
  journal.update(record.session, { endedAtMs: record.createdAtMs });
}

function bytesOfJournal(): number {
  const sizes = ["", "-wal"].map((suffix) => statSync(join(home, `journal.sqlite${suffix}`)).size);
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

test("after a year of 10,000 moves the journal is small, and answers for every one of them", () => {
  for (let number = 0; number < 10_000; number += 100) {
    journal.write("a hundred moves", () => {
      for (let i = 0; i < 100; i++) ended({ number: number + i, peer: `sha256:${(number + i) % 5}` });
    });
    for (let peer = 0; peer < 5; peer++) journal.prune(number * hourMs, nothingLeft, `sha256:${peer}`);
  }
  journal.prune(10_000 * hourMs, nothingLeft);
  expect(journal.all("destination").length).toBeLessThanOrEqual(5 * journalKeeps.peerRows);
  expect(bytesOfJournal()).toBeLessThan(16 * 1024 * 1024);
  for (let number = 0; number < 10_000; number++) {
    const known = journal.find(idOf(number)) ?? journal.findEnded(idOf(number));
    expect(known).toMatchObject({ state: "closed", peer: `sha256:${number % 5}`, attempt: 1 });
  }
});

test("a source that offers and cancels without end fills nothing, and pushes nobody's sessions out", () => {
  journal.write("honest", () => ended({ number: 0, peer: "sha256:honest", createdAtMs: 1 }));
  const long = { words: Array.from({ length: 120 }, () => "v".repeat(1010)) };
  for (let number = 1; number <= 6000; number += 100) {
    const kept = number > 5600 ? long : null;
    journal.write("a hundred offers", () => {
      for (let i = 0; i < 100; i++)
        ended({ number: number + i, peer: "sha256:evil", state: "cancelled", kept, createdAtMs: number + i });
    });
    journal.prune(10_000, nothingLeft, "sha256:evil");
  }
  journal.prune(10_000, nothingLeft);
  expect(journal.find(idOf(0))).toMatchObject({ peer: "sha256:honest" });
  expect(journal.ofPeer("destination", "sha256:evil", 10_000).length).toBeLessThanOrEqual(8);
  expect(journal.findEnded(idOf(5990))).toMatchObject({ state: "cancelled" });
  expect(journal.findEnded(idOf(1))).toBeNull();
  // What a hundred of them took between two looks is the most that it ever was.
  expect(bytesOfJournal()).toBeLessThan(48 * 1024 * 1024);
});

test("what has not ended, what a person settled, and what is still in the store keeps its record", () => {
  const staged = idOf(3);
  const peer = "sha256:source";
  journal.write("all", () => {
    journal.insert(recordOf({ number: 1, peer, createdAtMs: 1 }));
    journal.insert(recordOf({ number: 2, peer, createdAtMs: 1 }));
    journal.step(idOf(2), { side: "destination", from: "receiving", to: "ready" });
    ended({ number: 3, peer, state: "cancelled", createdAtMs: 1 });
    ended({ number: 4, peer, state: "cancelled", createdAtMs: 1 });
    journal.insert(recordOf({ number: 5, peer, createdAtMs: 1 }));
    journal.step(idOf(5), { side: "destination", from: "receiving", to: "ready" });
    journal.step(idOf(5), { side: "destination", from: "ready", to: "owner" });
    journal.update(idOf(5), { endedAtMs: 1 });
  });
  const left = (session: string, store: string | null) => session === staged && store === "/store";
  journal.prune(10 * journalKeeps.forMs, left, peer);
  journal.prune(10 * journalKeeps.forMs, left);
  expect([1, 2, 3, 4, 5].filter((number) => journal.find(idOf(number)) !== null)).toEqual([1, 2, 3, 5]);
});

test("a VM that was sent away and whose files were kept is remembered for good", () => {
  const sent = (number: number, after: SessionRecord["after"]) => {
    const record = recordOf({ number, peer: "sha256:destination", createdAtMs: number });
    const { session } = record;
    journal.insert({ ...record, side: "source", state: "sending", after });
    journal.step(session, { side: "source", from: "sending", to: "released" });
    journal.step(session, { side: "source", from: "released", to: "confirmed" });
    journal.update(session, { endedAtMs: number, settled: true, acknowledged: true });
  };
  journal.write("sent", () => {
    sent(1, "keep");
    for (let number = 2; number <= journalKeeps.rows + 10; number++) sent(number, "rename");
  });
  journal.prune(1, nothingLeft);
  expect(journal.find(idOf(1))).toMatchObject({ after: "keep" });
  expect(journal.find(idOf(2))).toBeNull();
  expect(journal.find(idOf(journalKeeps.rows))).not.toBeNull();
  expect(journal.all("source").length).toBe(journalKeeps.rows + 1);
});

test("a question that a peer asks does not read what its sessions consist of", () => {
  const kept = { words: Array.from({ length: 120 }, () => "v".repeat(1010)) };
  journal.write("long", () => {
    for (let number = 0; number < 60; number++)
      journal.insert(recordOf({ number, peer: "sha256:source", kept }));
  });
  const [row] = journal.ofPeer("destination", "sha256:source", 1);
  expect(row).not.toHaveProperty("files");
  expect(row).not.toHaveProperty("machine");
  expect(journal.openIn("/store")).toHaveLength(60);
  expect(journal.openIn("/other")).toEqual([]);
  expect(JSON.stringify(journal.ofPeer("destination", "sha256:source", 256)).length).toBeLessThan(40_000);
});

test("a move that its destination owns is over without an acknowledgement; one that was cancelled, kept or is open is not", () => {
  const made = (
    number: number,
    steps: ("released" | "confirmed" | "cancelled")[],
    change: Partial<SessionRecord>,
  ) => {
    const record = recordOf({
      number,
      peer: "p",
      side: "source",
      state: "sending",
      acknowledged: false,
      ...change,
    });
    journal.write("made", () => {
      journal.insert({ ...record, side: "source", state: "sending" });
      let from: "sending" | "released" = "sending";
      for (const to of steps) {
        journal.step(record.session, { side: "source", from, to });
        from = "released";
      }
      journal.update(record.session, { endedAtMs: 1, settled: true, ...change });
    });
  };
  made(1, ["released", "confirmed"], { after: "rename" });
  made(2, ["released", "confirmed"], { after: "keep" });
  made(3, ["cancelled"], { after: "rename" });
  made(4, ["released", "confirmed"], { after: "rename", endedAtMs: null });
  made(5, ["cancelled"], { after: "rename", acknowledged: true });
  expect(
    journal
      .over()
      .map(({ session }) => Number.parseInt(session, 16))
      .sort(),
  ).toEqual([1, 5]);
  const forgotten = [1, 2, 3, 4, 5].filter((number) =>
    journal.write("forget", () => journal.forget(idOf(number))),
  );
  expect(forgotten).toEqual([1, 5]);
  expect(journal.all("source")).toHaveLength(3);
});
