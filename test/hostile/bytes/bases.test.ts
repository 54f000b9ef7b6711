/** What a source may name as its base, and what another user of the destination's host may have put there. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import { DescribingSource } from "../../support/hostile/describing-source.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";

/** What lies in a file outside of the store. */
const content = randomBytes(2 * limits.blockBytes);
let ground: HostileGround;
let source: RawIdentity;
let outside: string;
let count = 0;

testsAttackDestination({ index: false }, async (made) => {
  ground = made;
  source = await ground.trustedSource();
  outside = join(ground.root, "outside");
  writeFileSync(join(outside, "disk.raw"), content);
});

describe("a base that is called", () => {
  // [MSG-4]
  test.each([
    "../outside",
    "..",
    ".",
    "/etc",
    "golden/../../outside",
    `.migrate-${"0".repeat(32)}`,
    "web1.migrated",
    "x\0",
    "",
  ])("%p is refused by its name", async (base) => {
    const peer = await ground.joined(source);
    await ground.withstands(async () => {
      const vm = new RawVm(`vm${++count}`);
      expect((await peer.sendJson("offer", vm.offer({ base })).error()).code).toBe("name-invalid");
    });
  });
});

describe("a base that is", () => {
  const manifest = (file: string) =>
    JSON.stringify({ format: "migrate-vm/1", name: "x", files: [{ kind: "disk", file }] });
  const folderWith = (folder: string, make: () => void) => {
    mkdirSync(folder, { mode: 0o700 });
    make();
  };
  const linkIn = (folder: string) => symlinkSync(join(outside, "disk.raw"), join(folder, "disk.raw"));

  // [FIND-6]
  test.each<[string, boolean, (folder: string) => void]>([
    ["a link to a folder elsewhere", false, (folder) => symlinkSync(outside, folder)],
    [
      "a folder whose one file is a link to one elsewhere",
      false,
      (folder) => folderWith(folder, () => linkIn(folder)),
    ],
    [
      "a folder whose vm.json names a file elsewhere",
      false,
      (folder) =>
        folderWith(folder, () => writeFileSync(join(folder, "vm.json"), manifest("../../outside/disk.raw"))),
    ],
    [
      "a folder whose vm.json names a link to a file elsewhere",
      true,
      (folder) =>
        folderWith(folder, () => {
          linkIn(folder);
          writeFileSync(join(folder, "vm.json"), manifest("disk.raw"));
        }),
    ],
  ])("%s gives nothing of what lies there", async (_what, isTaken, make) => {
    const base = `base${++count}`;
    make(join(ground.store, base));
    const begun = await DescribingSource.begin(ground, source, { content, base });
    // Without a key nothing may be described, and nothing is looked at.
    expect([begun.hasBase, begun.indexKey !== undefined]).toEqual([isTaken, isTaken]);
    if (isTaken) expect(await begun.wanted(begun.description(content, begun.tagOf(content)))).toBe(0);
    expect(begun.isUntouched).toBe(true);
  });

  // [FIND-6]
  test("a folder that becomes a link to one elsewhere after the offer gives nothing of what lies there", async () => {
    const base = `base${++count}`;
    const folder = join(ground.store, base);
    folderWith(folder, () => writeFileSync(join(folder, "disk.raw"), randomBytes(content.length)));
    const begun = await DescribingSource.begin(ground, source, { content, base });
    renameSync(folder, join(ground.root, base));
    symlinkSync(outside, folder);
    expect(await begun.wanted(begun.description(content, begun.tagOf(content)))).toBe(0);
    expect(begun.isUntouched).toBe(true);
  });
});
