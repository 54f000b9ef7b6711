import { describe, expect, test } from "bun:test";
import { lstatSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openHome } from "../../../src/home/home.ts";
import { type Change, Journal } from "../../../src/migration/journal/journal.ts";
import { filesCandidate } from "../../../src/migration/providers/files/leaving-files.ts";
import { qemuCandidate } from "../../../src/migration/providers/qemu/leaving-qemu.ts";
import { type Claim, claimSession } from "../../../src/migration/source/claim.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let root: string;
let home: string;
let journal: Journal;
eachTestInFolder("migrate-claim-", (made) => {
  root = made;
  home = openHome(join(root, "home"));
  journal = Journal.open(home);
  writeFileSync(join(root, "disk"), "a disk");
  return () => journal.close();
});

/** Claims the VM for this address, and releases the session's lock. */
async function claim(address: string): Promise<Claim> {
  const made = await claimSession(
    filesCandidate({ name: "web1", disks: [join(root, "disk")] }, "move"),
    { address, mode: "move", after: "keep" },
    { home, journal, identity: async () => null, observe: () => {}, now: () => 1 },
  );
  made.release();
  return made;
}

const set = (session: string, change: Change) => journal.write("test", () => journal.update(session, change));
const releaseVm = (session: string) =>
  journal.write("released", () => journal.step(session, { side: "source", from: "sending", to: "released" }));

describe("a new session", () => {
  // [TAG-3] [HELLO-1]
  test("has an id and a tag key of its own", async () => {
    const first = await claim("a:1");
    set(first.record.session, { attempt: 1 });
    const second = await claim("b:1");
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
  test("is not begun while the VM is released to the first", async () => {
    const first = await claim("a:1");
    set(first.record.session, { attempt: 1 });
    releaseVm(first.record.session);
    await expect(claim("b:1")).rejects.toMatchObject({ code: "in-doubt" });
    expect(journal.find(first.record.session)?.state).toBe("released");
  });

  // [OWN-7]
  test("gives the first up only where that is still being sent", async () => {
    const first = await claim("a:1");
    set(first.record.session, { attempt: 1 });
    const look = journal.all.bind(journal);
    // Between the look and the lock another process releases the VM.
    journal.all = (side) => {
      const found = look(side);
      if (journal.find(first.record.session)?.state === "sending") releaseVm(first.record.session);
      return found;
    };
    await expect(claim("b:1")).rejects.toMatchObject({ code: "in-doubt" });
    expect(journal.find(first.record.session)?.state).toBe("released");
  });
});

describe("a VM that was moved away", () => {
  // [OWN-2]
  test.each([
    ["by version 0.1.0", (ino: bigint, birth: bigint) => `99:${ino}:${birth}`],
    ["by this one", () => undefined],
  ])("%s is known after a boot that gave its disk another device number", async (_, earlier) => {
    const { session, files } = (await claim("a:1")).record;
    releaseVm(session);
    const { ino, birthtimeNs } = lstatSync(join(root, "disk"), { bigint: true });
    const identity = earlier(ino, birthtimeNs) ?? files[0]!.identity!;
    journal.write("confirmed", () => {
      const edge = { side: "source", from: "released", to: "confirmed" } as const;
      // Under another name since, so that the file alone tells.
      const gone = files.map((file) => ({ ...file, path: join(root, "elsewhere"), identity }));
      journal.step(session, edge, { endedAtMs: 2, settled: true, files: gone });
    });
    await expect(claim("b:1")).rejects.toMatchObject({ code: "not-owner" });
    renameSync(join(root, "disk"), join(root, "old"));
    writeFileSync(join(root, "disk"), "another disk");
    expect((await claim("b:1")).record.session).not.toBe(session);
  });
});

describe("a QMP socket's path", () => {
  test("behind which nobody is any more says what became of the VM that was there last", async () => {
    const qmp = join(root, "web1.qmp");
    const claimed = await claim("a:1");
    journal.write("test", () => {
      journal.remove(claimed.record.session);
      const kept = { side: "source", qmpPath: qmp, wasRunning: true, retire: [], tpm: null };
      journal.insert({ ...claimed.record, provider: "qemu", kept, files: [] });
    });
    releaseVm(claimed.record.session);
    journal.write("confirmed", () => {
      const edge = { side: "source", from: "released", to: "confirmed" } as const;
      journal.step(claimed.record.session, edge, { endedAtMs: 2, settled: true });
    });
    const candidate = qemuCandidate(
      { qmp, live: true, downtimeLimitMs: 300, autoConverge: false, channels: 0, workers: 1 },
      { home, bandwidthBytesPerSec: null, retryForMs: 0 },
    );
    const local = { home, journal, identity: async () => null, observe: () => {}, now: () => 1 };
    await expect(
      claimSession(candidate, { address: "b:1", mode: "move", after: "keep" }, local),
    ).rejects.toMatchObject({ code: "not-owner", message: expect.stringContaining("was moved to a:1") });
  });
});
