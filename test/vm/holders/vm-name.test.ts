import { expect, test } from "bun:test";
import { nameIn } from "../../../src/vm/holders/vm-name.ts";

test("the name of a VM is found in -name", () => {
  expect(nameIn(["q", "-name", "web1"])).toBe("web1");
  expect(nameIn(["q", "-name", "guest=a,,b,debug-threads=on"])).toBe("a,b");
  expect(nameIn(["q", "-name", "debug-threads=on"])).toBeNull();
  expect(nameIn(["q", "-m", "1"])).toBeNull();
});
