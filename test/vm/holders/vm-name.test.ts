import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { nameIn, vmNameOf } from "../../../src/vm/holders/vm-name.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder = "";
eachTestInFolder("migrate-vm-name-", (made) => {
  folder = made;
});

test("a VM that libvirt runs is called its", () => {
  expect(vmNameOf(process.pid, [folder, join(folder, "none")])).toBeNull();
  writeFileSync(join(folder, "web1.pid"), `${process.pid}\n`);
  writeFileSync(join(folder, "web2.pid"), "1\n");
  expect(vmNameOf(process.pid, [join(folder, "none"), folder])).toBe("libvirt's VM web1");
});

test("the name of a VM is found in -name", () => {
  expect(nameIn(["q", "-name", "web1"])).toBe("web1");
  expect(nameIn(["q", "-name", "guest=a,,b,debug-threads=on"])).toBe("a,b");
  expect(nameIn(["q", "-name", "debug-threads=on"])).toBeNull();
  expect(nameIn(["q", "-m", "1"])).toBeNull();
});
