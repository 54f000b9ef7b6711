/**
 * As kill.test.ts, over a secure link, with a base in the store, its index at work and chunks compressed:
 * neither the one that dies nor its index may come to harm.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CrashHosts, type CrashOutcome } from "../support/moves/crash-hosts.ts";

const mebibyte = 1024 ** 2;
/** Pairs of hosts that work at once. */
const pairsAtOnce = 4;

let root: string;
let pairs: CrashHosts[];

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-fewer-kill-"));
  const make = (_: unknown, i: number) => new CrashHosts(join(root, String(i)), { storesBase: true });
  pairs = Array.from({ length: pairsAtOnce }, make);
});
afterAll(async () => {
  await Promise.all(pairs.map((pair) => pair.close()));
  rmSync(root, { recursive: true, force: true });
});

/** Kills one side at write 1, 2, 3, … until it has no such write; gives what came of each, in order. */
async function killEverywhere(side: "source" | "destination"): Promise<CrashOutcome[]> {
  const outcomes: CrashOutcome[] = [];
  let next = 1;
  let last = Number.POSITIVE_INFINITY;
  const work = async (pair: CrashHosts) => {
    while (next < last) {
      const number = next++;
      const outcome = await pair.move({ source: 0, destination: 0, [side]: number });
      if (outcome[side] === undefined) last = Math.min(last, number);
      else outcomes[number - 1] = outcome;
    }
  };
  await Promise.all(pairs.map(work));
  return outcomes;
}

const around = (labels: string[]) => labels.flatMap((label) => [`before ${label}`, `after ${label}`]);

// [RCPT-4]
test("a source killed around any journal write goes on, and asks for what is missing alone", async () => {
  const outcomes = await killEverywhere("source");
  const atFirst = ["sending", "attempt", "peer", "sealed", "released"];
  const writes = [...atFirst, "receipt-release", "confirmed", "retired", "ended"];
  expect(outcomes.map(({ source }) => source)).toEqual(around(writes));
  for (const { source, foundBytes } of outcomes) {
    // Until the seal nothing has come yet; from then on everything has.
    const isEarly = around(["sending", "attempt", "peer"]).includes(source!);
    if (isEarly) expect([source, foundBytes > 4 * mebibyte]).toEqual([source, true]);
    else expect([source, foundBytes]).toEqual([source, 0]);
  }
});

// [RCPT-4]
test("a destination killed around any journal write finds what it has when it is started again", async () => {
  const outcomes = await killEverywhere("destination");
  const writes = [
    "receiving",
    "ready",
    "receipt-ready",
    "given-release",
    "owner",
    "published-files",
    "receipt-owned",
    "closed",
  ];
  expect(outcomes.map(({ destination }) => destination)).toEqual(around(writes));
  for (const { destination, foundBytes } of outcomes) {
    expect([destination, foundBytes > 4 * mebibyte]).toEqual([destination, true]);
  }
  // The index has come through all of it: the base alone has 5.2 MiB.
  for (const pair of pairs) {
    const { foundBytes } = await pair.move({ source: 0, destination: 0 });
    expect(foundBytes).toBeGreaterThan(6 * mebibyte);
  }
});
