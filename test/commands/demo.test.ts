import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { runMigrate } from "../support/system/process.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let folder = "";
eachTestInFolder("migrate-demo-test-", (made) => {
  folder = made;
});

const MiB = 1024 ** 2;
const demo = () => runMigrate(["demo", "--json"], { home: join(folder, "home"), env: { TMPDIR: folder } });

test("the demo moves a VM, says what came of it and leaves nothing behind", async () => {
  const run = demo();
  const { code } = await run.exit;
  expect({ code, stray: run.strayLines }).toEqual({ code: 0, stray: [] });
  const summary = await run.waitFor("demo");
  expect(summary).toMatchObject({ bytes: 1280 * MiB, owner: "destination", digestChecked: true });
  // Zero pages and holes cost nothing: of 1280 MiB at most the 328 MiB that hold something.
  expect(summary.wireBytes as number).toBeLessThan(340 * MiB);
  expect(summary.destinationAllocatedBytes as number).toBeLessThan(340 * MiB);
  expect(await run.waitFor("done")).toMatchObject({
    side: "source",
    owner: "destination",
    digest: summary.digest,
  });
  // Not even a home: the demo has identities of its own.
  expect(readdirSync(folder)).toEqual([]);
}, 120_000);

test("interrupted in the middle, the demo ends with 130 and leaves nothing behind", async () => {
  const run = demo();
  await run.waitFor("progress", { deadlineMs: 60_000 });
  run.signal("SIGINT");
  expect((await run.exit).code).toBe(130);
  expect(run.events.at(-1)).toMatchObject({ event: "error", code: "interrupted" });
  expect(readdirSync(folder)).toEqual([]);
}, 120_000);
