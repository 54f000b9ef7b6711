/** Copies of this program that a unit of a VM starts are no leftovers. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unitPlace } from "../../../../src/migration/operator/autostart/autostart.ts";
import { copiedBinaries } from "../../../../src/migration/operator/prune/copied-binaries.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("copied-binaries", (made) => {
  folder = made;
});

test("one that a unit names stays, and one that none does goes", () => {
  const env = {
    XDG_CACHE_HOME: join(folder, "cache"),
    XDG_CONFIG_HOME: join(folder, "config"),
    HOME: folder,
  };
  const copies = ["a", "b"].map((digit) => join(folder, "cache", "migrate", digit.repeat(64)));
  for (const copy of copies) {
    mkdirSync(copy, { recursive: true });
    writeFileSync(join(copy, "migrate"), "");
  }
  const units = unitPlace(env, folder).folder;
  mkdirSync(units, { recursive: true });
  writeFileSync(
    join(units, "migrate-vm-web1.service"),
    `[Service]\nExecStart="${copies[0]}/migrate" "start" "/x"\n`,
  );
  writeFileSync(join(units, "other.service"), `[Service]\nExecStart=${copies[1]}/migrate\n`);
  const stays = copiedBinaries(env, folder).map(({ path, stays: why }) => [path, why]);
  expect(stays).toEqual([
    [copies[0]!, "migrate-vm-web1.service starts a VM with it"],
    [copies[1]!, undefined],
  ]);
});
