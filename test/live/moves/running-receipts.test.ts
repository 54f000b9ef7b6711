/** A running VM whose two hosts cannot speak after RELEASE was signed: files that a person carries have it go on there. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FrozenGuest } from "../../support/guests/frozen-guest.ts";
import { RunningState } from "../../support/guests/running-state.ts";
import { hostsOfEachTest, testsShareFrozenGuest } from "../../support/moves/running-hosts-of-tests.ts";
import { sendOnce } from "../../support/moves/sending.ts";

const makeHosts = hostsOfEachTest();
let frozen: FrozenGuest;
testsShareFrozenGuest((made) => {
  frozen = made;
});

// [RCPT-5] [RCPT-7]
test("RELEASE in a file has it go on at the destination, and OWNED in a file ends it at the source", async () => {
  const at = await makeHosts();
  const guest = await frozen.thaw(at);
  const state = new RunningState(at, guest, frozen.serialText);
  const { hosts } = at;
  const serve = await at.serve();
  const { ticket } = await serve.waitFor("listening");
  const { error } = await sendOnce({
    home: hosts.sourceHome,
    vm: {
      qmp: guest.qmpPath,
      live: true,
      downtimeLimitMs: 300,
      autoConverge: false,
      channels: 0,
      workers: 1,
    },
    address: hosts.proxy.address,
    ticket: String(ticket),
    retryForMs: 0,
    onJournalWrite: (when, label) => {
      if (when === "after" && label === "receipt-release") throw new Error("the network is gone for good");
    },
  });
  expect(error?.message).toContain("the network is gone for good");
  expect([state.source?.state, state.destination?.state]).toEqual(["released", "ready"]);
  expect(await guest.status()).not.toBe("running");
  const { session } = state.source!;
  /** What one host shows, as a file for the other one. */
  const carried = async (side: "source" | "destination"): Promise<string> => {
    const shown = hosts[side](["receipt", "show", session]);
    await shown.exit;
    const path = join(at.folder, `${side}.receipts`);
    const { receipts } = shown.events[0] as unknown as { receipts: object[] };
    writeFileSync(
      path,
      ["migrate receipts v1", ...receipts.map((receipt) => JSON.stringify(receipt)), ""].join("\n"),
    );
    return path;
  };
  const there = hosts.destination(["resolve", session, "--receipt", await carried("source")]);
  expect(await there.exit, there.stdout()).toMatchObject({ code: 0 });
  await state.ticksThere();
  const here = hosts.source(["resolve", session, "--receipt", await carried("destination")]);
  expect(await here.exit, here.stdout()).toMatchObject({ code: 0 });
  expect([state.source?.state, state.destination?.state]).toEqual(["confirmed", "owner"]);
  await guest.ended();
  state.expectSound();
  await state.stop();
}, 90_000);
