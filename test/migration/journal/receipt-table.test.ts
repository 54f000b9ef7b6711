/** What the journal keeps of receipts: as long as the session's row, and as long as what they say holds. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Journal } from "../../../src/migration/journal/journal.ts";
import type { StoredReceipt } from "../../../src/migration/journal/receipt-table.ts";
import type { SessionRecord } from "../../../src/migration/journal/session-record.ts";

let home: string;
let journal: Journal;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "migrate-receipts-"));
  journal = Journal.open(home);
});
afterEach(() => {
  journal.close();
  rmSync(home, { recursive: true, force: true });
});

const session = "5e".repeat(16);
const record: SessionRecord = {
  ...{ session, side: "source", name: "web1", vm: "01234567-89ab-cdef-0123-456789abcdef", mode: "move" },
  ...{ peer: "sha256:there", address: "192.0.2.7:7600", state: "sending", phase: "seal", attempt: 1 },
  ...{ tagKey: "00".repeat(16), files: [], folder: null, store: null, after: "rename", digest: "sha256:vm" },
  ...{ bytes: 0, doneBytes: 0, wireBytes: 0, provider: "files", kept: null, release: null, settled: true },
  ...{ acknowledged: true, createdAtMs: 1, updatedAtMs: 1, endedAtMs: null },
};
const ready: StoredReceipt = {
  ...{
    kind: "ready",
    session,
    mode: "move",
    digest: "sha256:vm",
    signer: "sha256:there",
    other: "sha256:here",
  },
  ...{ generation: 7, seen: 0, certificate: "AAAA", signature: "ab".repeat(64) },
};

/** A session that was released, with READY's receipt and this host's own. */
function released(): void {
  journal.write("test", () => {
    journal.insert(record);
    journal.step(session, { side: "source", from: "sending", to: "released" });
    journal.receipts.take(ready);
    journal.receipts.put({ ...ready, kind: "release", verdict: "cd".repeat(32) });
  });
}

test("is read as it was kept, in the order of the handover, and one of a kind takes the place of the last", () => {
  released();
  journal.write("test", () => journal.receipts.take({ ...ready, generation: 9 }));
  expect(journal.receipts.of(session)).toEqual([
    { ...ready, generation: 9 },
    { ...ready, kind: "release", verdict: "cd".repeat(32) },
  ]);
});

// [RCPT-6] [RCPT-8]
test("goes with the record that takes back what it says", () => {
  released();
  journal.write("test", () => journal.step(session, { side: "source", from: "released", to: "cancelled" }));
  expect(journal.receipts.of(session)).toEqual([]);
  expect(journal.receipts.own()).toEqual({ generation: 1, witness: 1, tpm: null });
});

test("stays with a session that is over, and goes with its row", () => {
  released();
  const ended = { endedAtMs: 2 };
  journal.write("test", () =>
    journal.step(session, { side: "source", from: "released", to: "confirmed" }, ended),
  );
  expect(journal.receipts.of(session)).toHaveLength(2);
  expect(journal.write("test", () => journal.forget(session))).toBe(true);
  expect(journal.receipts.of(session)).toEqual([]);
});

// [RCPT-8]
test("remembers the most that a peer has shown, and has claimed, until it is forgotten", () => {
  expect(journal.receipts.peer("sha256:there")).toBeNull();
  released();
  journal.write("test", ({ receipts }) => receipts.take({ ...ready, generation: 3 }));
  journal.write("test", ({ receipts }) => receipts.noteClaim("sha256:there", 5));
  journal.write("test", ({ receipts }) => receipts.noteClaim("sha256:there", 4));
  expect(journal.receipts.peer("sha256:there")).toEqual({ generation: 7, claimed: 5 });
  expect(journal.receipts.claimed()).toBe(5);
  expect(journal.write("test", ({ receipts }) => receipts.forgetPeer("sha256:there"))).toBe(true);
  expect(journal.receipts.claimed()).toBe(0);
});

test("finds its place in a journal of the version before, whose sessions stay", () => {
  released();
  journal.close();
  const database = new Database(join(home, "journal.sqlite"));
  database.run("DROP TRIGGER receiptsGo");
  for (const table of ["receipts", "peerGenerations", "ownGeneration"]) database.run(`DROP TABLE ${table}`);
  database.run("PRAGMA user_version = 5");
  database.close();
  journal = Journal.open(home);
  expect(journal.find(session)?.state).toBe("released");
  expect(journal.receipts.of(session)).toEqual([]);
  expect(journal.receipts.own()).toEqual({ generation: 0, witness: 0, tpm: null });
  const reopened = new Database(join(home, "journal.sqlite"));
  expect(reopened.query("PRAGMA user_version").get()).toEqual({ user_version: 7 });
  reopened.close();
});
