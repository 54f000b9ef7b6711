/**
 * Either side is killed before and after every durable write of its journal, alone and together, as
 * real processes, and started again with the same command.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CrashHosts, type CrashOutcome, type CrashPlan, type CrashVm } from "../support/moves/crash-hosts.ts";

/** Pairs of hosts that work at once. */
const pairsAtOnce = 4;

let root: string;
let pairs: CrashHosts[];

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-kill-"));
  pairs = Array.from({ length: pairsAtOnce }, (_, i) => new CrashHosts(join(root, String(i))));
});
afterAll(async () => {
  await Promise.all(pairs.map((pair) => pair.close()));
  rmSync(root, { recursive: true, force: true });
});

/** Moves a VM for each plan that `next` gives, several at once, until it gives none. */
async function moveAll(
  next: () => CrashPlan | undefined,
  seen: (plan: CrashPlan, outcome: CrashOutcome) => void,
  vm: CrashVm = {},
): Promise<void> {
  let failed = false;
  const ends = await Promise.allSettled(
    pairs.map(async (pair) => {
      for (let plan = next(); plan !== undefined && !failed; plan = next()) {
        try {
          seen(plan, await pair.move(plan, vm));
        } catch (thrown) {
          failed = true;
          throw thrown;
        }
      }
    }),
  );
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

/** Kills one side at write 1, 2, 3, … until it has no such write; gives where it was killed, in order. */
async function killEverywhere(side: "source" | "destination", vm?: CrashVm): Promise<string[]> {
  const killed: string[] = [];
  let number = 0;
  let over = false;
  await moveAll(
    () => (over ? undefined : { source: 0, destination: 0, [side]: ++number }),
    (plan, outcome) => {
      const where = outcome[side];
      if (where === undefined) over = true;
      else killed[plan[side] - 1] = where;
    },
    vm,
  );
  return killed;
}

const around = (labels: string[]) => labels.flatMap((label) => [`before ${label}`, `after ${label}`]);
const sourceWrites = around([
  "sending",
  "attempt",
  "peer",
  "sealed",
  "released",
  "confirmed",
  "retired",
  "ended",
]);
const destinationWrites = around(["receiving", "ready", "owner", "published-files", "closed"]);

test("a source killed around any journal write goes on with the same command", async () => {
  expect(await killEverywhere("source")).toEqual(sourceWrites);
});

test("a source killed around any journal write deletes its files only once the destination owns the VM", async () => {
  expect(await killEverywhere("source", { after: "delete" })).toEqual(sourceWrites);
});

test("a destination killed around any journal write goes on when it is started again", async () => {
  expect(await killEverywhere("destination")).toEqual(destinationWrites);
});

test("both sides killed around any two journal writes of seal, handover and confirm go on", async () => {
  const fromSeal = sourceWrites.indexOf("before sealed");
  const plans: CrashPlan[] = sourceWrites.slice(fromSeal).flatMap((_, source) =>
    destinationWrites.map((__, destination) => ({
      source: fromSeal + source + 1,
      destination: destination + 1,
    })),
  );
  const missed: CrashPlan[] = [];
  await moveAll(
    () => plans.shift(),
    (plan, outcome) => {
      if (outcome.source === undefined || outcome.destination === undefined) missed.push(plan);
    },
  );
  expect(missed).toEqual([]);
}, 180_000);
