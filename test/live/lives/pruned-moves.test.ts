/** What a VM that ran leaves at its source goes by `migrate prune`, and nothing that lay beside the state of its TPM. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectMoved } from "../../support/moves/whole-move.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

test("disks are removed, what lay beside the TPM's state keeps its folder", async () => {
  const guest = await at.guest({ tpm: true, disks: [{ name: "data.raw", format: "raw" }] });
  await guest.waitForTick(2);
  writeFileSync(join(guest.tpmState, "notes"), "mine");
  await at.serve();
  await doneOf(at.send(guest));
  const there = await expectMoved(at, guest);
  const [disk, state] = ["data.raw", "tpm"].map((name) => join(guest.options.folder, `${name}.migrated`));
  expect([disk!, state!].map(existsSync)).toEqual([true, true]);
  // The state itself was destroyed with the move.
  expect(readdirSync(state!)).toEqual(["notes"]);

  const pruning = at.hosts.source(["prune", "--older-than", "0", "--yes"]);
  expect(await pruning.exit).toMatchObject({ code: 5 });
  expect(pruning.events).toContainEqual(
    expect.objectContaining({
      event: "warning",
      message: `${state} stays: what else lies in it stays: notes`,
    }),
  );
  expect(existsSync(disk!)).toBe(false);
  expect(existsSync(join(state!, "notes"))).toBe(true);

  // Where it runs nothing of it is left over.
  const other = at.hosts.destination(["prune", "--older-than", "0", "--yes"]);
  expect(await other.exit).toMatchObject({ code: 0 });
  expect(other.events).toEqual([]);
  expect(there.isRunning()).toBe(true);
});
