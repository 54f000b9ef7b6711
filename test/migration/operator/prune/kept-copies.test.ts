import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keptCheck } from "../../../../src/commands/doctor/doctor-checks.ts";
import { openHome } from "../../../../src/home/home.ts";
import { Journal } from "../../../../src/migration/journal/journal.ts";
import { recordOfOffer } from "../../../../src/migration/journal/offer-record.ts";
import { keptCopies } from "../../../../src/migration/operator/prune/kept-copies.ts";
import { emptyOffer } from "../../destination/played-destination.ts";

let root: string;
let home: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-kept-"));
  home = openHome(join(root, "home"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** This host has sent a VM of these files away. */
function sent(session: string, paths: string[]): void {
  const origin = { peer: "p", address: "a", attempt: 1, store: "/", nowMs: 1, bytes: 0, kept: null };
  const files = paths.map((path) => ({ kind: "disk" as const, name: "d", bytes: 1, path }));
  const record = { ...recordOfOffer(session, emptyOffer, origin), files, after: "rename" as const };
  const journal = Journal.open(home);
  journal.write("sent", () => {
    journal.insert({ ...record, side: "source", state: "sending" });
    journal.step(session, { side: "source", from: "sending", to: "released" });
    journal.step(session, { side: "source", from: "released", to: "confirmed" });
  });
  journal.close();
}

test("what moved VMs left is found where they were and in the store, with what it takes", () => {
  const [vms, store] = [join(root, "vms"), join(root, "store")];
  for (const folder of [vms, store, join(store, "web2.migrated-0123abcd")]) mkdirSync(folder);
  writeFileSync(join(vms, "web1.raw.migrated"), Buffer.alloc(1024 * 1024, 1));
  writeFileSync(join(vms, "web1.raw"), "another VM's");
  writeFileSync(join(store, "web2.migrated-0123abcd", "disk"), Buffer.alloc(512 * 1024, 1));
  sent("ab".repeat(16), [join(vms, "web1.raw")]);
  const { paths, bytes } = keptCopies(home, store);
  expect(paths.sort()).toEqual([join(store, "web2.migrated-0123abcd"), join(vms, "web1.raw.migrated")]);
  expect(bytes).toBeGreaterThanOrEqual(1536 * 1024);
  const [check] = keptCheck(home, store);
  expect(check).toMatchObject({ check: "migrated", state: "warning" });
  expect(check!.message).toContain("2 files of VMs that were moved away take 1.5 MiB");
  expect(check!.help).toContain("migrate prune");
  // To tell of them is all that is done.
  expect(existsSync(join(vms, "web1.raw.migrated"))).toBe(true);
});

test("a host that has sent nothing away is told nothing, and gets no journal by it", () => {
  expect(keptCheck(home, undefined)).toEqual([]);
  expect(existsSync(join(home, "journal.sqlite"))).toBe(false);
});
