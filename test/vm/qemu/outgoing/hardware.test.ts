import { describe, expect, test } from "bun:test";
import { changeOf } from "../../../../src/vm/qemu/outgoing/hardware.ts";

const parts = (...list: [string, string][]) => new Map(list);

describe("a change of a VM's hardware is named", () => {
  const then = parts(["the drive cd0", "[in]"], ["the device nic0", "child<e1000>"]);

  test("where there is none", () => {
    expect(changeOf(then, parts(...then))).toBeNull();
  });

  test("by what came, what went and what is another one now", () => {
    expect(changeOf(then, parts(...then, ["the device nic1", ""]))).toBe("the device nic1 was plugged in");
    expect(changeOf(then, parts(["the drive cd0", "[in]"]))).toBe("the device nic0 was taken away");
    expect(changeOf(then, parts(...then, ["the drive cd0", "[out]"]))).toBe("the drive cd0 was changed");
  });
});
