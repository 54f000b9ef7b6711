/** Which set a test file belongs to, which ones need the machine to themselves, and how long the slow ones take. */

/**
 * - live: boots real guests, or starts real QEMUs, swtpms and browsers: all below test/live/.
 * - exhaustive: goes through every case there is, or thousands of random ones; see `exhaustiveFiles`.
 * - quick: all others.
 */
export type TestSet = "quick" | "exhaustive" | "live";

/**
 * Every frame cut, every journal write killed, every schedule explored, every decision in every state, large numbers
 * of random inputs and of strangers, a whole profile measured.
 */
export const exhaustiveFiles: readonly string[] = [
  "test/commands/profile/profile-run.test.ts",
  "test/crash/cut.test.ts",
  "test/crash/fewer-bytes-cut.test.ts",
  "test/crash/fewer-bytes-kill.test.ts",
  "test/crash/kill.test.ts",
  "test/crash/sigkill.test.ts",
  "test/fewer-bytes/equal-bytes.test.ts",
  "test/fewer-bytes/repeats.test.ts",
  "test/hard-places/resolve.test.ts",
  "test/hostile/strangers/crowds.test.ts",
  "test/hostile/words/tampered-command-lines.test.ts",
  "test/migration/ownership/ownership.test.ts",
  "test/protocol/fuzz.test.ts",
];

/** They judge how long something takes, or how it shares the processors: nothing runs beside them. */
export const aloneFiles: readonly string[] = [
  "test/crash/repeats-kill.test.ts",
  "test/hard-places/bandwidth.test.ts",
];

/**
 * About how many seconds the slow ones take on two cores, so that they can be started first; one that is not
 * named takes a second or two. A number that is off costs some time at the end of a run and nothing else.
 */
export const knownSeconds: Readonly<Record<string, number>> = {
  "test/commands/cli/program.test.ts": 5,
  "test/commands/demo.test.ts": 11,
  "test/commands/profile/profile-run.test.ts": 53,
  "test/crash/repeats-kill.test.ts": 6,
  "test/crash/cut.test.ts": 114,
  "test/crash/fewer-bytes-cut.test.ts": 49,
  "test/crash/fewer-bytes-kill.test.ts": 16,
  "test/crash/kill.test.ts": 69,
  "test/crash/sigkill.test.ts": 33,
  "test/fewer-bytes/repeats.test.ts": 31,
  "test/fewer-bytes/equal-bytes.test.ts": 18,
  "test/fewer-bytes/store.test.ts": 6,
  "test/hard-places/after.test.ts": 15,
  "test/hard-places/clock.test.ts": 5,
  "test/hard-places/disk-full.test.ts": 14,
  "test/hard-places/interrupt.test.ts": 15,
  "test/hard-places/resolve.test.ts": 28,
  "test/hard-places/resume.test.ts": 17,
  "test/hard-places/several.test.ts": 23,
  "test/hard-places/source-files.test.ts": 15,
  "test/hard-places/store.test.ts": 7,
  "test/home/sealed.test.ts": 6,
  "test/hostile/bytes/chunks.test.ts": 7,
  "test/hostile/bytes/lanes.test.ts": 3,
  "test/hostile/bytes/streams-zstd.test.ts": 5,
  "test/hostile/bytes/streams.test.ts": 6,
  "test/hostile/bytes/wanted-repeats.test.ts": 8,
  "test/hostile/bytes/wanted.test.ts": 3,
  "test/hostile/strangers/crowds.test.ts": 18,
  "test/hostile/strangers/destination-greeting.test.ts": 4,
  "test/hostile/strangers/floods.test.ts": 9,
  "test/hostile/strangers/impostors.test.ts": 3,
  "test/hostile/strangers/strangers.test.ts": 8,
  "test/hostile/words/destination-handover.test.ts": 6,
  "test/hostile/words/destination-transfer.test.ts": 6,
  "test/hostile/words/messages.test.ts": 4,
  "test/hostile/words/offers.test.ts": 9,
  "test/hostile/words/running-offers.test.ts": 5,
  "test/hostile/words/tampered-command-lines.test.ts": 6,
  "test/live/deaths/running-cuts.test.ts": 64,
  "test/live/deaths/running-deaths-qemu.test.ts": 56,
  "test/live/deaths/running-deaths-send.test.ts": 50,
  "test/live/deaths/running-deaths-serve.test.ts": 62,
  "test/live/deaths/running-deaths-stop.test.ts": 21,
  "test/live/hostile/hostile-destination.test.ts": 22,
  "test/live/hostile/hostile-handover.test.ts": 7,
  "test/live/hostile/hostile-source.test.ts": 4,
  "test/live/moves/convergence.test.ts": 49,
  "test/live/moves/guest-kinds.test.ts": 50,
  "test/live/moves/migrate-guest.test.ts": 12,
  "test/live/moves/running-cancel.test.ts": 146,
  "test/live/moves/running-compressed.test.ts": 115,
  "test/live/moves/running-disks.test.ts": 117,
  "test/live/moves/running-doubts.test.ts": 40,
  "test/live/moves/running-moves.test.ts": 60,
  "test/live/moves/running-refusals.test.ts": 38,
  "test/live/moves/shared-move.test.ts": 6,
  "test/live/moves/tpm-moves.test.ts": 32,
  "test/live/moves/two-namespaces.test.ts": 20,
  "test/live/programs/debian-inputs.test.ts": 55,
  "test/live/programs/guest.test.ts": 6,
  "test/live/programs/report.test.ts": 24,
  "test/migration/ownership/ownership.test.ts": 15,
  "test/profiler/engine/thesis-source.test.ts": 11,
  "test/program/compiled.test.ts": 4,
  "test/protocol/fuzz.test.ts": 6,
  "test/protocol/vectors.test.ts": 3,
  "test/transfer/streams/stream-compressed.test.ts": 9,
  "test/transfer/streams/stream-compressor.test.ts": 6,
  "test/transfer/streams/stream-pool.test.ts": 10,
};

const usualSeconds = 1;

/** Takes a path as "test/…". */
export function setOf(file: string): TestSet {
  if (file.startsWith("test/live/")) return "live";
  return exhaustiveFiles.includes(file) ? "exhaustive" : "quick";
}

export const isAlone = (file: string): boolean => aloneFiles.includes(file);

export const expectedSeconds = (file: string): number => knownSeconds[file] ?? usualSeconds;
