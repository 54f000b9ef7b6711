import { expect, test } from "bun:test";
import { processLimits, requireOpenFiles, requireUsable } from "../../src/platform/process-limits.ts";
import { refusalOf } from "../support/system/refusals.ts";

const unlimited = Number.POSITIVE_INFINITY;

test("the soft limits of this process are read", () => {
  expect(processLimits().openFiles).toBeGreaterThan(100);
  const text = [
    "Limit                     Soft Limit           Hard Limit           Units     ",
    "Max open files            1024                 524288               files     ",
    "Max address space         unlimited            unlimited            bytes     ",
  ].join("\n");
  expect(processLimits(() => text)).toEqual({ openFiles: 1024, addressSpaceBytes: unlimited });
  const none = processLimits(() => {
    throw new Error("no /proc");
  });
  expect(none).toEqual({ openFiles: unlimited, addressSpaceBytes: unlimited });
});

test("a process that may have too little is told how much is needed", () => {
  requireUsable({ openFiles: 48, addressSpaceBytes: 4 * 1024 ** 3 });
  expect(
    refusalOf(() => requireUsable({ openFiles: 47, addressSpaceBytes: unlimited }), "limit").message,
  ).toBe("this process may have 47 files open, and migrate needs 48");
  expect(
    refusalOf(() => requireUsable({ openFiles: 48, addressSpaceBytes: 2 ** 30 }), "limit").message,
  ).toContain("may have 1048576 KiB of address space, and migrate needs 4194304");
  const limits = { openFiles: 64, addressSpaceBytes: unlimited };
  expect(refusalOf(() => requireOpenFiles(65, "this", limits)).hint).toContain("ulimit -n 65");
});
