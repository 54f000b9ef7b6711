import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { triedAgain, wholeGuest } from "../guests/lost-guest.ts";
import {
  countArrived,
  countFileVariable,
  falseAlarm,
  guestCount,
  mostLost,
  ownRate,
  probabilityOfMore,
} from "./lost-guests.ts";

const lost = () => wholeGuest(() => Promise.reject(new Error("a tick is missing")));
const whole = () => wholeGuest(async () => "all of it");
let folder: string;
let countFile: string | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "migrate-lost-"));
  countFile = process.env[countFileVariable];
  process.env[countFileVariable] = join(folder, "guests");
});
afterEach(() => {
  if (countFile === undefined) delete process.env[countFileVariable];
  else process.env[countFileVariable] = countFile;
  rmSync(folder, { recursive: true, force: true });
});

test("every guest that was looked at is counted, also those that a test has forgiven", async () => {
  let tries = 0;
  await triedAgain(async () => {
    if (++tries < 3) await lost();
    await whole();
  })();
  expect(guestCount(join(folder, "guests"))).toMatchObject({ looks: 3, lost: 2 });
  expect(guestCount(join(folder, "nowhere"))).toMatchObject({ looks: 0, lost: 0 });
});

test("a guest that arrived and panicked is told from one that did not, over all files", () => {
  countArrived("tick 1\ntick 2\n");
  countArrived("tick 1\n[    4.385510] Kernel panic - not syncing: Fatal exception in interrupt\n");
  const first = join(folder, "guests");
  expect(guestCount(first)).toEqual({ looks: 0, lost: 0, arrived: 2, panicked: 1 });
  process.env[countFileVariable] = join(folder, "more");
  countArrived("");
  expect(guestCount(first, join(folder, "more"))).toMatchObject({ arrived: 3, panicked: 1 });
});

test("a guest that is lost three times fails its test, and so does anything else at once", async () => {
  expect(triedAgain(async () => void (await lost()))()).rejects.toThrow("a tick is missing");
  let tries = 0;
  const broken = triedAgain(async () => {
    tries++;
    throw new Error("not about the guest");
  });
  expect(broken()).rejects.toThrow("not about the guest");
  await Bun.sleep(0);
  expect(tries).toBe(1);
});

test("the tail of the binomial distribution is what it is by hand", () => {
  expect(probabilityOfMore(0, 2, 0.5)).toBeCloseTo(0.75, 12);
  expect(probabilityOfMore(1, 2, 0.5)).toBeCloseTo(0.25, 12);
  expect(probabilityOfMore(2, 2, 0.5)).toBe(0);
  // 1 - 0.9^10 - 10 × 0.1 × 0.9^9
  expect(probabilityOfMore(1, 10, 0.1)).toBeCloseTo(1 - 0.9 ** 10 - 0.9 ** 9, 12);
});

test("the bound is the smallest that QEMU alone exceeds as rarely as was chosen", () => {
  expect(mostLost(0)).toBe(0);
  for (const looks of [1, 5, 12, 40, 138]) {
    const most = mostLost(looks);
    expect(probabilityOfMore(most, looks, ownRate)).toBeLessThanOrEqual(falseAlarm);
    if (most > 0) expect(probabilityOfMore(most - 1, looks, ownRate)).toBeGreaterThan(falseAlarm);
  }
});

test("a fault that damages one guest in three is found in a run of sixteen more often than not", () => {
  expect(probabilityOfMore(mostLost(16), 16, 1 / 3)).toBeGreaterThan(0.5);
});
