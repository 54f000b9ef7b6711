/** Which set a test file belongs to, which ones need the machine to themselves, and how long the slow ones take. */

/**
 * - live: boots real guests, or starts real QEMUs, swtpms and browsers: all below test/live/.
 * - exhaustive: goes through every case there is, or thousands of random ones; see `exhaustiveFiles`.
 * - quick: all others.
 */
export type TestSet = "quick" | "exhaustive" | "live";

/**
 * Every frame cut, every journal write killed, every schedule explored, every decision in every state, every damage
 * of staged files, every lie of an offer, every cipher of the thesis, every pace of a link; large numbers of random
 * inputs, of strangers, of VMs at once, and of moves in a year; a whole profile measured, and a bandwidth over seconds.
 */
export const exhaustiveFiles: readonly string[] = [
  "test/attestation/logs/fuzz.test.ts",
  "test/commands/profile/profile-run.test.ts",
  "test/crash/cut.test.ts",
  "test/crash/fewer-bytes-cut.test.ts",
  "test/crash/fewer-bytes-kill.test.ts",
  "test/crash/kill.test.ts",
  "test/crash/repeats-kill.test.ts",
  "test/crash/sigkill.test.ts",
  "test/fewer-bytes/equal-bytes.test.ts",
  "test/fewer-bytes/repeats.test.ts",
  "test/hard-places/bandwidth.test.ts",
  "test/hard-places/resolve.test.ts",
  "test/hard-places/resume.test.ts",
  "test/hard-places/several.test.ts",
  "test/hard-places/year.test.ts",
  "test/hostile/strangers/crowds.test.ts",
  "test/hostile/strangers/floods.test.ts",
  "test/hostile/words/offers.test.ts",
  "test/hostile/words/tampered-command-lines.test.ts",
  "test/hostile/words/tampered-models.test.ts",
  "test/migration/ownership/ownership.test.ts",
  "test/profiler/engine/thesis-source.test.ts",
  "test/protocol/fuzz.test.ts",
  "test/transfer/streams/stream-compressor.test.ts",
];

/** They judge how work shares the processors: nothing runs beside them. */
export const aloneFiles: readonly string[] = ["test/crash/repeats-kill.test.ts"];

/** They wait for deadlines for the most part, with less than half a processor's work: one of them runs beside the others. */
export const waitingFiles: readonly string[] = [
  "test/channel/call.test.ts",
  "test/hard-places/slow-and-dead-links.test.ts",
  "test/hostile/attestation/lying-proofs.test.ts",
  "test/hostile/strangers/crowds.test.ts",
  "test/live/hostile/hostile-destination.test.ts",
  "test/live/libvirt/deaths/domain-standstill.test.ts",
  "test/live/programs/small-mtu.test.ts",
  "test/live/refusals/running-refusals.test.ts",
];

/**
 * About how many seconds the slow ones take on two cores, so that they can be started first; one that is not
 * named takes a second or two. A number that is off costs some time at the end of a run and nothing else.
 */
export const knownSeconds: Readonly<Record<string, number>> = {
  "test/channel/call.test.ts": 10,
  "test/commands/cli/program.test.ts": 3,
  "test/commands/demo.test.ts": 8,
  "test/commands/profile/profile-run.test.ts": 49,
  "test/crash/cut.test.ts": 75,
  "test/crash/fewer-bytes-cut.test.ts": 30,
  "test/crash/fewer-bytes-kill.test.ts": 12,
  "test/crash/kill.test.ts": 55,
  "test/crash/repeats-kill.test.ts": 4,
  "test/crash/sigkill.test.ts": 20,
  "test/fewer-bytes/equal-bytes.test.ts": 15,
  "test/fewer-bytes/repeats.test.ts": 16,
  "test/fewer-bytes/store.test.ts": 6,
  "test/hard-places/after.test.ts": 12,
  "test/hard-places/bandwidth.test.ts": 10,
  "test/hard-places/clock.test.ts": 3,
  "test/hard-places/disk-full.test.ts": 14,
  "test/hard-places/first-link.test.ts": 8,
  "test/hard-places/interrupt.test.ts": 11,
  "test/hard-places/receipts.test.ts": 30,
  "test/hard-places/resolve.test.ts": 38,
  "test/hard-places/restored-journals.test.ts": 4,
  "test/hard-places/resume.test.ts": 18,
  "test/hard-places/several.test.ts": 12,
  "test/hard-places/slow-and-dead-links.test.ts": 20,
  "test/hard-places/source-files.test.ts": 15,
  "test/hard-places/stale-ram.test.ts": 8,
  "test/hard-places/store.test.ts": 5,
  "test/hard-places/timeout.test.ts": 8,
  "test/hard-places/year.test.ts": 60,
  "test/home/sealed.test.ts": 6,
  "test/hostile/attestation/lying-logs.test.ts": 4,
  "test/hostile/attestation/lying-proofs.test.ts": 40,
  "test/hostile/bytes/chunks.test.ts": 7,
  "test/hostile/bytes/guesses.test.ts": 3,
  "test/hostile/bytes/lanes.test.ts": 4,
  "test/hostile/bytes/streams-zstd.test.ts": 3,
  "test/hostile/bytes/streams.test.ts": 4,
  "test/hostile/bytes/wanted-repeats.test.ts": 5,
  "test/hostile/bytes/wanted.test.ts": 2,
  "test/hostile/strangers/crowds.test.ts": 20,
  "test/hostile/strangers/destination-greeting.test.ts": 3,
  "test/hostile/strangers/floods.test.ts": 10,
  "test/hostile/strangers/impostors.test.ts": 3,
  "test/hostile/strangers/strangers.test.ts": 6,
  "test/hostile/words/destination-handover.test.ts": 6,
  "test/hostile/words/destination-transfer.test.ts": 4,
  "test/hostile/words/messages.test.ts": 3,
  "test/hostile/words/offers.test.ts": 9,
  "test/hostile/words/running-offers.test.ts": 8,
  "test/hostile/words/tampered-command-lines.test.ts": 6,
  "test/hostile/words/tampered-models.test.ts": 9,
  "test/live/attested/profile.test.ts": 12,
  "test/live/attested/told.test.ts": 9,
  "test/live/deaths/running-cuts.test.ts": 95,
  "test/live/deaths/running-deaths-qemu.test.ts": 66,
  "test/live/deaths/running-deaths-send.test.ts": 72,
  "test/live/deaths/running-deaths-serve.test.ts": 76,
  "test/live/deaths/running-deaths-stop.test.ts": 15,
  "test/live/hostile/hostile-destination.test.ts": 34,
  "test/live/hostile/hostile-handover.test.ts": 10,
  "test/live/hostile/hostile-source.test.ts": 4,
  "test/live/hostile/worst-source.test.ts": 22,
  "test/live/libvirt/domain-by-ssh.test.ts": 20,
  "test/live/libvirt/domain-asked.test.ts": 70,
  "test/live/attested/attested-file-moves.test.ts": 8,
  "test/live/attested/attested-tpm-moves.test.ts": 30,
  "test/live/attested/changed-chips.test.ts": 55,
  "test/live/attested/enrolment.test.ts": 4,
  "test/live/attested/floods.test.ts": 6,
  "test/live/attested/lying-sources.test.ts": 5,
  "test/live/libvirt/attested-domain.test.ts": 30,
  "test/live/libvirt/domain-cards.test.ts": 25,
  "test/live/libvirt/deaths/domain-cuts.test.ts": 170,
  "test/live/libvirt/deaths/domain-deaths-stop.test.ts": 170,
  "test/live/libvirt/deaths/domain-deaths.test.ts": 270,
  "test/live/libvirt/deaths/domain-doubts.test.ts": 50,
  "test/live/libvirt/deaths/domain-guests.test.ts": 90,
  "test/live/libvirt/domain-hooks.test.ts": 20,
  "test/live/libvirt/domain-images.test.ts": 40,
  "test/live/libvirt/domain-moves.test.ts": 40,
  "test/live/libvirt/domain-parts.test.ts": 80,
  "test/live/libvirt/deaths/domain-standstill.test.ts": 75,
  "test/live/libvirt/domain-stops.test.ts": 75,
  "test/live/libvirt/hostile-destination.test.ts": 28,
  "test/live/libvirt/hostile-memory.test.ts": 26,
  "test/live/libvirt/hostile-offers.test.ts": 20,
  "test/live/libvirt/hostile-streams.test.ts": 50,
  "test/live/libvirt/libvirt-hosts.test.ts": 95,
  "test/live/libvirt/libvirt-sentences.test.ts": 18,
  "test/live/lives/autostart.test.ts": 6,
  "test/live/lives/console.test.ts": 27,
  "test/live/lives/screen.test.ts": 12,
  "test/live/lives/start.test.ts": 4,
  "test/live/lives/stop.test.ts": 35,
  "test/live/moves/confined-moves.test.ts": 32,
  "test/live/moves/confined-user.test.ts": 50,
  "test/live/moves/convergence.test.ts": 130,
  "test/live/moves/guest-kinds.test.ts": 61,
  "test/live/moves/looked-after/guest-ends.test.ts": 45,
  "test/live/moves/looked-after/guest-time.test.ts": 90,
  "test/live/moves/looked-after/reached-again.test.ts": 20,
  "test/live/moves/migrate-guest.test.ts": 10,
  "test/live/moves/others-hands.test.ts": 40,
  "test/live/moves/processors/processor-moves.test.ts": 25,
  "test/live/moves/other-user.test.ts": 30,
  "test/live/moves/running-cancel.test.ts": 97,
  "test/live/moves/running-compressed.test.ts": 76,
  "test/live/moves/running-disks.test.ts": 78,
  "test/live/moves/running-doubts.test.ts": 42,
  "test/live/moves/running-images.test.ts": 35,
  "test/live/moves/running-moves.test.ts": 35,
  "test/live/refusals/destination-refusals.test.ts": 20,
  "test/live/refusals/running-refusals.test.ts": 35,
  "test/live/moves/running-restored.test.ts": 11,
  "test/live/moves/shared-move.test.ts": 4,
  "test/live/lives/start-again.test.ts": 40,
  "test/live/moves/still-images.test.ts": 50,
  "test/live/moves/tpm-moves.test.ts": 37,
  "test/live/moves/two-namespaces.test.ts": 14,
  "test/live/ssh/accounts.test.ts": 27,
  "test/live/ssh/attested.test.ts": 25,
  "test/live/ssh/first-contact.test.ts": 36,
  "test/live/ssh/live-guests.test.ts": 33,
  "test/live/ssh/lost-ssh.test.ts": 75,
  "test/live/ssh/on-a-terminal.test.ts": 10,
  "test/live/ssh/refusals.test.ts": 35,
  "test/live/tpm/ek-certificates.test.ts": 4,
  "test/live/tpm/garbage.test.ts": 15,
  "test/live/tpm/host-tpm.test.ts": 6,
  "test/live/tpm/tpm-identity.test.ts": 15,
  "test/live/programs/debian-inputs.test.ts": 65,
  "test/live/programs/guest.test.ts": 7,
  "test/live/programs/network-hosts.test.ts": 4,
  "test/live/programs/report.test.ts": 35,
  "test/live/programs/small-mtu.test.ts": 45,
  "test/migration/journal/ended-sessions.test.ts": 5,
  "test/migration/ownership/ownership.test.ts": 40,
  "test/profiler/engine/thesis-source.test.ts": 11,
  "test/program/compiled.test.ts": 6,
  "test/program/few-resources.test.ts": 8,
  "test/protocol/fuzz.test.ts": 10,
  "test/protocol/vectors.test.ts": 4,
  "test/transfer/streams/stream-compressed.test.ts": 10,
  "test/transfer/streams/stream-compressor.test.ts": 8,
  "test/transfer/streams/stream-pool.test.ts": 13,
};

const usualSeconds = 1;

/** Takes a path as "test/…". */
export function setOf(file: string): TestSet {
  if (file.startsWith("test/live/")) return "live";
  return exhaustiveFiles.includes(file) ? "exhaustive" : "quick";
}

/** Whether it starts libvirt hosts. */
export const needsLibvirt = (file: string): boolean => file.startsWith("test/live/libvirt/");

export const isWaiting = (file: string): boolean => waitingFiles.includes(file);

export const isAlone = (file: string): boolean => aloneFiles.includes(file);

export const expectedSeconds = (file: string): number => knownSeconds[file] ?? usualSeconds;
