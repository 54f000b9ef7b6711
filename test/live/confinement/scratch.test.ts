import { expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf } from "../../support/moves/whole-move.ts";
let at: RunningHosts;
eachTestHasRunningHosts((made) => { at = made; });
test("x", async () => {
  const guest = await at.guest({ disks: [{ name: "data.raw", format: "raw" }] });
  await guest.waitForTick(2);
  const serve = await at.serve();
  try { await doneOf(at.send(guest, ["--mode", "stop"])); } finally {
    console.log(JSON.stringify(serve.events.filter(e=>!["progress","phase"].includes((e as any).event)), null, 1));
    const run = join(at.hosts.destinationHome, "run");
    for (const n of readdirSync(run)) console.log(readFileSync(join(run, n, "qemu.log"), "utf8"));
  }
}, 60000);
