/** Files on real file systems, which are mounted again as after a boot of the host: the device's number is another. */
import { expect, test } from "bun:test";
import { lstatSync, mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileIdentity, isSameFile } from "../../../src/vm/folder/file-identity.ts";
import { runChild } from "../../support/system/child.ts";
import { LoopDevices } from "../../support/system/loop-devices.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder = "";
let loops: LoopDevices;
eachTestInFolder("migrate-identity-", (made) => {
  folder = made;
  loops = new LoopDevices();
  return () => loops.close();
});

test.each([
  ["ext4", 16],
  ["xfs", 320],
])(
  "a file on %s is the same after its file system was mounted from another device",
  async (kind, mebibytes) => {
    const [image, at] = [join(folder, "image"), join(folder, "mounted")];
    writeFileSync(image, "");
    truncateSync(image, mebibytes * 2 ** 20);
    mkdirSync(at);
    await runChild([`mkfs.${kind}`, "-q", image]);
    await loops.mount(await loops.attach(image), at);
    const path = join(at, "disk");
    writeFileSync(path, "a disk");
    const [before, deviceBefore] = [fileIdentity(path), lstatSync(path).dev];
    await loops.unmount(at);
    // The first device stays, so that this is another one.
    await loops.mount(await loops.attach(image), at);
    expect(lstatSync(path).dev).not.toBe(deviceBefore);
    expect(isSameFile(before, fileIdentity(path))).toBe(true);
    // The id of the file system is among what is compared.
    expect(before!.split(":")[3]).toMatch(/^[0-9a-f]{16,32}$/);
    rmSync(path);
    writeFileSync(path, "another");
    expect(isSameFile(before, fileIdentity(path))).toBe(false);
  },
);
