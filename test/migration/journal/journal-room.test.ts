import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SmallDisk } from "../../support/files/small-disk.ts";

const program = join(import.meta.dir, "../../support/files/full-journal.ts");
let root: string;
let disk: SmallDisk;
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "migrate-room-"));
  disk = await SmallDisk.make(join(root, "disk"), 8 * 1024 * 1024);
});
afterEach(async () => {
  await disk.close();
  rmSync(root, { recursive: true, force: true });
});

test("on a disk that runs full every session that was begun is recorded to its end, and then none begins", async () => {
  const command = [...disk.enter, process.execPath, program, join(root, "disk")];
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  const { refusal, states, begunAgain } = JSON.parse(await new Response(child.stdout).text());
  expect(refusal).toBe("the disk that the journal is on is full");
  expect(states.length).toBeGreaterThanOrEqual(16);
  expect(new Set(states)).toEqual(new Set(["closed"]));
  expect(begunAgain).toBe("receiving");
});
