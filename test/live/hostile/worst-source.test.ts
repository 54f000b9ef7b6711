/**
 * A trusted source does its worst while an honest one moves a running VM: the VM arrives whole, and what the
 * destination takes of memory and disk stays within bounds. MIGRATE_WORST_SECONDS makes it longer, 300 for the
 * whole of it; the times of the honest move, alone and beside the other, are printed.
 */
import { expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import type { FrozenGuest } from "../../support/guests/frozen-guest.ts";
import { makeIdentity } from "../../support/hostile/hostile-ground.ts";
import { startWorst } from "../../support/hostile/worst/worst-process.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { hostsOfEachTest, testsShareFrozenGuest } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectMoved } from "../../support/moves/whole-move.ts";
import { runMigrate } from "../../support/system/process.ts";
import { until } from "../../support/system/until.ts";

const seconds = Number(process.env.MIGRATE_WORST_SECONDS ?? 6);
const mib = 2 ** 20;
let frozen: FrozenGuest;
const makeHosts = hostsOfEachTest();
testsShareFrozenGuest((made) => {
  frozen = made;
});

/** Moves a guest straight to the destination, without the test's own proxy between them. */
async function moves(at: RunningHosts, address: string, ticket: string): Promise<number> {
  const guest = await frozen.thaw(at);
  const begun = performance.now();
  const send = runMigrate(
    ["send", `qmp:${guest.qmpPath}`, address, "--ticket", ticket, "--compress", "off", "--json"],
    { home: at.hosts.sourceHome },
  );
  try {
    await doneOf(send);
    const ms = performance.now() - begun;
    await expectMoved(at, guest);
    return ms;
  } finally {
    await send.kill();
  }
}

async function serving(at: RunningHosts) {
  const serve = await at.serve({ flags: ["--max-sessions", "16"] });
  const { address, ticket } = await serve.waitFor("listening");
  return { serve, address, ticket: ticket! };
}

test(
  "an honest source moves its VM while a trusted one does its worst",
  async () => {
    const alone = await makeHosts();
    const { address, ticket } = await serving(alone);
    const aloneMs = await moves(alone, address, ticket);
    await alone.close();

    const at = await makeHosts();
    const { serve, address: there, ticket: other } = await serving(at);
    const home = openHome(at.hosts.destinationHome);
    const identity = await makeIdentity();
    await TrustFile.load(home).add(identity.fingerprint, "source", "the-worst");
    const mostBytes = { memory: 0, journal: 0 };
    const look = setInterval(() => {
      const status = readFileSync(`/proc/${serve.pid}/status`, "utf8");
      mostBytes.memory = Math.max(mostBytes.memory, Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024);
      const sizes = ["", "-wal"].map(
        (suffix) => statSync(join(home, `journal.sqlite${suffix}`), { throwIfNoEntry: false })?.size ?? 0,
      );
      mostBytes.journal = Math.max(mostBytes.journal, sizes[0]! + sizes[1]!);
    }, 100);
    const begun = performance.now();
    const worst = startWorst(Number(there.split(":").at(-1)), identity);
    try {
      const isBusy = () =>
        performance.now() - begun > (seconds * 1000) / 2 && (worst.done.cancelled ?? 0) > 0;
      await until(isBusy, "the worst", seconds * 1000 + 60_000);
      const besideMs = await moves(at, there, other);
      await until(
        () => performance.now() - begun > seconds * 1000,
        "the rest of it",
        seconds * 1000 + 60_000,
      );
      console.log(
        `alone ${(aloneMs / 1000).toFixed(1)} s, beside the worst ${(besideMs / 1000).toFixed(1)} s; ` +
          `serve ${(mostBytes.memory / mib).toFixed(0)} MiB, journal ${(mostBytes.journal / mib).toFixed(1)} MiB; ` +
          JSON.stringify(worst.done),
      );
    } finally {
      clearInterval(look);
      await worst.stop();
    }
    expect(mostBytes.memory).toBeLessThan(256 * mib);
    expect(mostBytes.journal).toBeLessThan(16 * mib);
  },
  seconds * 1000 + 180_000,
);
