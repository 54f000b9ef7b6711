import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHome } from "../../../src/home/home.ts";
import { Journal, type SessionRecord } from "../../../src/migration/journal/journal.ts";
import { type Claim, claimSession } from "../../../src/migration/source/claim.ts";

let root: string;
let home: string;
let journal: Journal;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-claim-"));
  home = openHome(join(root, "home"));
  journal = Journal.open(home);
  writeFileSync(join(root, "disk"), "a disk");
});
afterEach(() => {
  journal.close();
  rmSync(root, { recursive: true, force: true });
});

/** Claims the VM for this address and lets go of the session's lock again. */
function claim(address: string): Claim {
  const made = claimSession(journal, home, {
    spec: { name: "web1", disks: [join(root, "disk")] },
    address,
    mode: "move",
    after: "keep",
    now: () => 1,
  });
  made.release();
  return made;
}

const set = (session: string, change: Partial<SessionRecord>) =>
  journal.write("test", () => journal.update(session, change));

describe("a new session", () => {
  // [TAG-3] [HELLO-1]
  test("has an id and a tag key of its own", () => {
    const first = claim("a:1");
    set(first.record.session, { attempt: 1 });
    const second = claim("b:1");
    for (const { record } of [first, second]) {
      expect(record.session).toMatch(/^[0-9a-f]{32}$/);
      expect(record.tagKey).toMatch(/^[0-9a-f]{32}$/);
    }
    expect(second.record.session).not.toBe(first.record.session);
    expect(second.record.tagKey).not.toBe(first.record.tagKey);
  });
});

describe("a session to another destination", () => {
  // [OWN-2]
  test("is not begun while the VM is released to the first", () => {
    const first = claim("a:1");
    set(first.record.session, { state: "released", attempt: 1 });
    expect(() => claim("b:1")).toThrow(expect.objectContaining({ code: "in-doubt" }));
    expect(journal.find(first.record.session)?.state).toBe("released");
  });

  // [OWN-7]
  test("gives the first up only where that is still being sent", () => {
    const first = claim("a:1");
    set(first.record.session, { attempt: 1 });
    const look = journal.open.bind(journal);
    // Between the look and the lock another process releases the VM.
    journal.open = (side) => {
      const found = look(side);
      set(first.record.session, { state: "released" });
      return found;
    };
    expect(() => claim("b:1")).toThrow(expect.objectContaining({ code: "vm-busy" }));
    expect(journal.find(first.record.session)?.state).toBe("released");
  });
});
