/** How much of the machine's processors is idle, from what proc_stat(5) shows. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { IdleShare } from "../../../src/transfer/compression/idle-share.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "migrate-idle-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const line = (...ticks: number[]) => `cpu  ${ticks.join(" ")}\ncpu0 1 2 3 4 5 6 7 8 9 10\n`;

test("is the part of the ticks between two readings in which nobody ran, waiting for a disk included", () => {
  const path = join(folder, "stat");
  const share = new IdleShare(path);
  writeFileSync(path, line(100, 0, 50, 1000, 20, 0, 5, 0, 9, 9));
  expect(share.since(0)).toBeNull();
  writeFileSync(path, line(140, 0, 70, 1030, 30, 0, 5, 0, 49, 9));
  // 40 in user, 20 in system, 30 idle and 10 in iowait; a guest's time is part of the user's.
  expect(share.since(100)).toBeCloseTo(0.4, 6);
});

test("is not told by readings that are too close together or too far apart", () => {
  const path = join(folder, "far");
  const share = new IdleShare(path);
  writeFileSync(path, line(0, 0, 0, 0, 0, 0, 0, 0));
  share.since(0);
  writeFileSync(path, line(10, 0, 0, 90, 0, 0, 0, 0));
  expect(share.since(10)).toBeNull();
  expect(share.since(100)).toBeCloseTo(0.9, 6);
  writeFileSync(path, line(20, 0, 0, 180, 0, 0, 0, 0));
  expect(share.since(10_000)).toBeNull();
});

test("is no reason against anything where it cannot be read", () => {
  expect(new IdleShare(join(folder, "missing")).since(0)).toBe(1);
  const path = join(folder, "odd");
  writeFileSync(path, "something else\n");
  expect(new IdleShare(path).since(0)).toBe(1);
});

test("is a part between none and all on this machine", async () => {
  const share = new IdleShare();
  expect(share.since(performance.now())).toBeNull();
  let part: number | null = null;
  // Until the ticks have moved on: they count hundredths of a second.
  while (part === null) {
    await new Promise((resolve) => setImmediate(resolve));
    part = share.since(performance.now());
  }
  expect(part).toBeGreaterThanOrEqual(0);
  expect(part).toBeLessThanOrEqual(1);
});
