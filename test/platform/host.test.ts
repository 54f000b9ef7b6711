import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { clockOk, cpuHasAes, kernelVersion, kvmUsable, which } from "../../src/platform/host.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let folder: string;
eachTestInFolder("migrate-host-", (made) => {
  folder = made;
});

test("a program is found by its full path, a missing one is null", () => {
  expect(which("sh")).toMatch(/^\/.*\/sh$/);
  expect(which("no-such-program-here")).toBeNull();
});

describe("KVM", () => {
  test("a missing device is told apart from one that does not work", () => {
    const missing = kvmUsable(join(folder, "kvm"));
    expect(missing.usable).toBe(false);
    expect(missing.reason).toContain("module is not loaded");
    // A file that opens and takes no KVM_CREATE_VM.
    writeFileSync(join(folder, "kvm"), "");
    const broken = kvmUsable(join(folder, "kvm"));
    expect(broken.usable).toBe(false);
    expect(broken.reason).toContain("makes no VM");
  });

  test("the host's own answer has a reason where it is no", () => {
    const { usable, reason } = kvmUsable();
    expect(reason === undefined).toBe(usable);
  });
});

describe("the clock", () => {
  test("a year before 2024 is not believed", () => {
    expect(clockOk(Date.UTC(1970, 5, 1))).toMatchObject({ ok: false, year: 1970 });
    expect(clockOk(Date.UTC(2023, 11, 31)).ok).toBe(false);
    expect(clockOk(Date.UTC(2024, 0, 1)).ok).toBe(true);
    expect(clockOk().ok).toBe(true);
  });
});

test("the kernel's version is the one in /proc", () => {
  expect(kernelVersion()).toBe(readFileSync("/proc/sys/kernel/osrelease", "utf8").trim());
});

test("AES is a word of its own among the flags of either processor", () => {
  expect(cpuHasAes("model\t: x\nflags\t\t: fpu aes avx\n")).toBe(true);
  expect(cpuHasAes("flags\t\t: fpu vaes avx\n")).toBe(false);
  expect(cpuHasAes("Features\t: fp asimd aes pmull\n")).toBe(true);
  expect(cpuHasAes("")).toBe(false);
});
