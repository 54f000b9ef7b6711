/** The folder of an ssh's sockets: nobody else's, short, and gone with whoever made it. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PrivateFolder } from "../../src/ssh/private-folder.ts";
import { startChild } from "../support/system/child.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";
import { until } from "../support/system/until.ts";

let folder = "";
eachTestInFolder("pf-", (made) => {
  folder = made;
});

test("it is made where the system has a place for it, mode 0700, and removed with what lies in it", async () => {
  const made = PrivateFolder.make({ XDG_RUNTIME_DIR: folder });
  expect(made.path.startsWith(`${folder}/migrate-ssh-`)).toBe(true);
  expect(statSync(made.path).mode & 0o777).toBe(0o700);
  writeFileSync(join(made.path, "ctl"), "");
  await made.close();
  expect(readdirSync(folder)).toEqual([]);
});

test.each(["x".repeat(100), "a:b", "a%b", "a b", "$HOME"])(
  "a path that no socket of ssh can have is passed over: %s",
  async (name) => {
    const place = join(folder, name);
    mkdirSync(place);
    const made = PrivateFolder.make({ XDG_RUNTIME_DIR: place });
    expect(made.path.startsWith(place)).toBe(false);
    await made.close();
    expect(existsSync(made.path)).toBe(false);
  },
);

test("it goes when its maker is killed", async () => {
  const code = `
    const { PrivateFolder } = await import(${JSON.stringify(join(import.meta.dir, "../../src/ssh/private-folder.ts"))});
    console.log(PrivateFolder.make({ XDG_RUNTIME_DIR: ${JSON.stringify(folder)} }).path);
    setInterval(() => {}, 1000);
  `;
  const child = startChild([process.execPath, "-e", code]);
  await until(() => child.stdout().includes("\n"), "the folder");
  expect(existsSync(child.stdout().trim())).toBe(true);
  await child.kill("SIGKILL");
  await until(() => readdirSync(folder).length === 0, "its end");
});
