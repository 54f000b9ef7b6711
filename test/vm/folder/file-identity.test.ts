import { describe, expect, test } from "bun:test";
import { lstatSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileIdentity, isSameFile } from "../../../src/vm/folder/file-identity.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder = "";
const leave: (() => Promise<unknown>)[] = [];
eachTestInFolder("migrate-identity-", (made) => {
  folder = made;
  return async () => {
    for (const each of leave.splice(0).reverse()) await each();
  };
});

/** As version 0.1.0 wrote it. */
function oldIdentity(path: string): string {
  const { dev, ino, birthtimeNs } = lstatSync(path, { bigint: true });
  return `${dev}:${ino}:${birthtimeNs}`;
}

describe("a file", () => {
  test("is the same under another name, and another one in its place is not", () => {
    const path = join(folder, "disk");
    writeFileSync(path, "a disk");
    const before = fileIdentity(path);
    renameSync(path, `${path}.other`);
    expect(isSameFile(before, fileIdentity(`${path}.other`))).toBe(true);
    writeFileSync(path, "another");
    expect(isSameFile(before, fileIdentity(path))).toBe(false);
    expect(fileIdentity(join(folder, "none"))).toBeNull();
    expect(isSameFile(null, null)).toBe(false);
  });

  test("that was recorded by version 0.1.0 is still known", () => {
    const path = join(folder, "disk");
    writeFileSync(path, "a disk");
    expect(isSameFile(oldIdentity(path), fileIdentity(path))).toBe(true);
    const [, ino, birth] = oldIdentity(path).split(":");
    expect(isSameFile(`99:${ino}:${birth}`, fileIdentity(path))).toBe(true);
    expect(isSameFile(`99:${ino}:0`, fileIdentity(path))).toBe(false);
    expect(isSameFile(`99:${ino}:1`, fileIdentity(path))).toBe(false);
  });
});

describe("identities", () => {
  const handle = "1.0c00000001000000";
  test.each([
    ["with another file system", "v2:7:5:aa:1.00:", "v2:7:5:bb:1.00:", false],
    ["with another handle", "v2:7:5:aa:1.00:", "v2:7:5:aa:1.01:", false],
    ["of which one knows no file system", "v2:7:5::1.00:", "v2:7:5:aa:1.00:", true],
    ["of a file system without birth times", `v2:7:0::${handle}:`, `v2:7:0::${handle}:`, true],
    ["of which nothing but the number is known", "v2:7:0:::", "v2:7:0:::", false],
    ["of which nothing but number and device are known", "v2:7:0:::3", "v2:7:0:::3", true],
    ["that no version wrote", "7", "7", false],
  ])("%s: the same file is %p, %p, %p", (_what, one, other, same) => {
    expect(isSameFile(one, other)).toBe(same);
    expect(isSameFile(other, one)).toBe(same);
  });
});
