/**
 * A destination's TPM that says something else in the middle of a live move than it did before OFFER, or says nothing any
 * more: the VM stays at the source, and runs there.
 */
import { describe, expect, test } from "bun:test";
import { AttestedHosts, expectEvidenceHolds } from "../../support/attestation/attested-hosts.ts";
import type { FrozenGuest } from "../../support/guests/frozen-guest.ts";
import { RunningState } from "../../support/guests/running-state.ts";
import { hostsOfEachTest, testsShareFrozenGuest } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, failureOf } from "../../support/moves/whole-move.ts";
import { tpm2 } from "../../support/tpm/chip.ts";

let frozen: FrozenGuest;
const newHosts = hostsOfEachTest();

testsShareFrozenGuest((made) => {
  frozen = made;
});

/** What is done to the destination's chip once RAM has begun to go, and what the source says then. */
const changes: [string, (hosts: AttestedHosts) => Promise<unknown>, { code: RegExp; message: RegExp }][] = [
  [
    "a register changed",
    ({ chips, at }) => tpm2(chips.destination, at.folder, "pcrextend", `7:sha256=${"ab".repeat(32)}`),
    { code: /^attestation$/, message: /is not in the state that was recorded.*Register 7/ },
  ],
  [
    "a boot that leaves the registers as they were",
    ({ chips }) => chips.destination.reboot(),
    { code: /^attestation$/, message: /was reset between two proofs/ },
  ],
  [
    "its end",
    ({ chips }) => chips.destination.stop(),
    { code: /^tpm-unusable$/, message: /^its TPM cannot be used/ },
  ],
  [
    "its silence",
    async ({ chips }) => chips.destination.swtpm.signal("SIGSTOP"),
    // Whichever of the two hosts has waited long enough first.
    {
      code: /^(?:attestation|tpm-unusable)$/,
      message: /^(?:its TPM cannot be used|no proof came within \d+ s)/,
    },
  ],
];

/** Slow enough that there is time for a change between the first RAM and the last. */
const slowly = ["--attest", "--bandwidth", "8M"];

// [ATT-5] [ATT-6]
describe("between OFFER and RELEASE", () => {
  test.each(changes)(
    "%s of the destination's TPM leaves the VM at the source, running",
    async (_, change, expected) => {
      const at = await newHosts();
      const hosts = await AttestedHosts.make(at);
      const guest = await frozen.thaw(at);
      const state = new RunningState(at, guest, frozen.serialText);
      try {
        await hosts.serve();
        const send = hosts.send(guest, slowly);
        await send.waitFor("ram", { where: ({ transferredBytes }) => transferredBytes > 0 });
        await change(hosts);
        const error = await failureOf(send);
        expect(error.code).toMatch(expected.code);
        expect(error.message).toMatch(expected.message);
        // What came from the other host names nothing of its.
        expect(error.message).not.toContain(at.folder);
        expect(send.events.filter(({ event }) => event === "attested").map(({ moment }) => moment)).toEqual([
          "offer",
          "start",
        ]);
        await state.expectStays();
      } finally {
        await state.stop();
      }
    },
    90_000,
  );

  test("nothing changes, and the VM moves", async () => {
    const at = await newHosts();
    const hosts = await AttestedHosts.make(at);
    const guest = await frozen.thaw(at);
    await hosts.serve();
    await doneOf(hosts.send(guest, slowly));
    const check = (words: string[]) => hosts.source(words);
    expect(await expectEvidenceHolds(at.hosts.sourceHome, check)).toBe(1);
  }, 90_000);
});
