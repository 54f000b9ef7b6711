/**
 * A running VM with a virtual TPM moves between two hosts that prove to each other what they run, and back again: each
 * host has a chip of its own.
 */
import { expect, test } from "bun:test";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { AttestedHosts, expectEvidenceHolds, onlySession } from "../../support/attestation/attested-hosts.ts";
import { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import { expectGoodLooks, looked } from "../../support/guests/seen/tpm-looks.ts";
import { tpmSealedLine } from "../../support/guests/tpm-guest.ts";
import type { RunningHosts } from "../../support/moves/running-hosts.ts";
import { eachTestHasRunningHosts } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectGapless, expectMoved, failureOf } from "../../support/moves/whole-move.ts";
import type { MigrateProcess } from "../../support/system/process.ts";

let at: RunningHosts;

eachTestHasRunningHosts((made) => {
  at = made;
});

const momentsOf = ({ events }: MigrateProcess) =>
  events.filter(({ event }) => event === "attested").map((event) => event.moment);

function verdictsIn(home: string, session: string) {
  const journal = Journal.open(home);
  try {
    return journal.verdictsOf(session);
  } finally {
    journal.close();
  }
}

// [ATT-5] [ATT-8]
test("it moves there and back, where both prove themselves, and what the guest has sealed still unseals", async () => {
  const hosts = await AttestedHosts.make(at);
  const guest = await at.guest({
    tpm: true,
    append: "tpm=extend",
    disks: [{ name: "data.raw", format: "raw" }],
  });
  await guest.log.waitUntil((text) => text.includes(tpmSealedLine), "the sealing");
  await looked(guest);
  const serve = await hosts.serve(["--require-attestation"]);

  // Nobody at the destination has looked at the source yet.
  const early = await failureOf(hosts.send(guest, ["--attest", "--prove"]));
  expect(early).toMatchObject({ code: "attestation", exitCode: 3 });
  expect(early.message).toContain("no policy for this host");
  // And a source that does not prove itself gets no further than WELCOME.
  expect(await failureOf(hosts.send(guest))).toMatchObject({ code: "attestation", exitCode: 3 });
  await hosts.acceptSource();

  const send = hosts.send(guest, ["--attest", "--prove"]);
  await doneOf(send);
  expect(momentsOf(send)).toEqual(["offer", "start", "release"]);
  expect(momentsOf(serve)).toEqual(["offer", "again", "again"]);
  const there = await expectMoved(at, guest);
  await looked(there);
  expectGoodLooks(guest, there);

  const { sourceHome, destinationHome } = at.hosts;
  const session = onlySession(sourceHome);
  expect(verdictsIn(sourceHome, session)).toMatchObject([{ role: "destination", moment: "release" }]);
  expect(verdictsIn(destinationHome, session)).toMatchObject([{ role: "source" }]);

  // Its log goes with its run folder, and is still to be read.
  const log = openSync(join(there.folder, "serial.log"), "r");
  const kept = { serialText: () => readFileSync(`/proc/self/fd/${log}`, "utf8") };
  // What the two have recorded of each other holds in the other direction as well.
  const back = await hosts.back(["--require-attestation"]);
  const returned = back.send(`qmp:${there.qmpPath}`, ["--attest", "--prove"]);
  await doneOf(returned);
  expect(momentsOf(returned)).toEqual(["offer", "start", "release"]);
  const home = new ArrivedGuest(back.hosts.destinationHome, "web1");
  await looked(home);
  expectGoodLooks(guest, kept, home);
  expectGapless(guest, kept, home);
  closeSync(log);

  // Each host has kept what the other one has shown, of both moves; any host can check that.
  const check = (words: string[]) => at.hosts.source(words);
  expect(await expectEvidenceHolds(sourceHome, check)).toBeGreaterThanOrEqual(2);
  expect(await expectEvidenceHolds(destinationHome, check)).toBeGreaterThanOrEqual(2);
}, 120_000);
