/** What was proven is kept by session; of what sources have proven, so much and no more. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import {
  isAttested,
  keepVerdict,
  makeVerdictTables,
  usePolicy,
  type Verdict,
  verdictKeeps,
  verdictsOf,
} from "../../../src/migration/journal/verdicts.ts";

function opened(): Database {
  const db = new Database(":memory:", { strict: true });
  db.run("CREATE TABLE sessions (session TEXT PRIMARY KEY, endedAtMs INTEGER)");
  makeVerdictTables(db);
  makeVerdictTables(db);
  return db;
}

const verdict = (n: number, more: Partial<Verdict> = {}): Verdict => ({
  ...{
    session: `s${n}`,
    role: "source",
    peer: "sha256:aa",
    moment: "offer",
    policyVersion: 1,
    allowed: true,
  },
  ...{ digest: `${n}`, file: `/e/${n}.json`, bytes: 1000, atMs: n },
  ...more,
});

test("a verdict takes the place of the one with the same file", () => {
  const db = opened();
  keepVerdict(db, verdict(1));
  keepVerdict(db, verdict(1, { moment: "release", digest: "later" }));
  expect(verdictsOf(db, "s1")).toEqual([verdict(1, { moment: "release", digest: "later" })]);
  expect(verdictsOf(db, "s2")).toEqual([]);
});

test("of one source the oldest go when there are too many, and nobody else's", () => {
  const db = opened();
  const other = verdict(0, { peer: "sha256:bb", file: "/e/other.json" });
  const destination = verdict(0, { role: "destination", file: "/e/destination.json", session: "d" });
  for (const one of [other, destination]) expect(keepVerdict(db, one)).toEqual([]);
  for (let n = 1; n <= verdictKeeps.peerFiles; n++) expect(keepVerdict(db, verdict(n))).toEqual([]);
  expect(keepVerdict(db, verdict(9999))).toEqual(["/e/1.json"]);
  expect(verdictsOf(db, "s1")).toEqual([]);
  expect(verdictsOf(db, "s0")).toEqual([other]);
  expect(verdictsOf(db, "d")).toEqual([destination]);
});

test("of one source the oldest go when they are too long, and what is kept now stays", () => {
  const db = opened();
  const half = verdictKeeps.peerBytes / 2;
  expect(keepVerdict(db, verdict(1, { bytes: half }))).toEqual([]);
  expect(keepVerdict(db, verdict(2, { bytes: half }))).toEqual([]);
  expect(keepVerdict(db, verdict(3, { bytes: 1 }))).toEqual(["/e/1.json"]);
  expect(keepVerdict(db, verdict(4, { bytes: 3 * half })).sort()).toEqual(["/e/2.json", "/e/3.json"]);
  expect(verdictsOf(db, "s4").length).toBe(1);
});

test("of a session's attempts the last ones are kept, whoever has proven, and what says that a proof was asked for", () => {
  const db = opened();
  const of = (n: number, more: Partial<Verdict> = {}) =>
    verdict(n, { session: "s", role: "destination", ...more });
  expect(keepVerdict(db, of(0, { file: "asked s", bytes: 0 }))).toEqual([]);
  for (let n = 1; n <= verdictKeeps.sessionFiles; n++) expect(keepVerdict(db, of(n))).toEqual([]);
  expect(keepVerdict(db, of(100))).toEqual(["/e/1.json"]);
  expect(isAttested(db, "s", "destination")).toBe(true);
  expect(verdictsOf(db, "s").length).toBe(verdictKeeps.sessionFiles);
  // Asked, and never proven.
  keepVerdict(db, verdict(0, { session: "t", role: "destination", file: "asked t", bytes: 0 }));
  expect([isAttested(db, "t", "destination"), isAttested(db, "t", "source")]).toEqual([true, false]);
  expect(verdictsOf(db, "t")).toEqual([]);
});

test("what is too much of a source goes, but for what is open: it goes on with proofs", () => {
  const db = opened();
  db.run("INSERT INTO sessions VALUES ('s1', NULL), ('s2', 5)");
  const half = verdictKeeps.peerBytes / 2;
  for (const n of [1, 2, 3]) expect(keepVerdict(db, verdict(n, { bytes: half }))).toEqual([]);
  expect(keepVerdict(db, verdict(4, { bytes: half }))).toEqual(["/e/2.json"]);
  expect(verdictsOf(db, "s1").length).toBe(1);
});

test("the newest version of a policy that was in use is remembered", () => {
  const db = opened();
  expect([3, 5, 4, 1].map((version) => usePolicy(db, "sha256:aa", version))).toEqual([3, 5, 5, 5]);
  expect(usePolicy(db, "sha256:bb", 1)).toBe(1);
});
