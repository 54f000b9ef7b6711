/** What a reader of a report must know of how it came about. Pure. */

import { list, percent, runs } from "../notation/notation.ts";
import { cellsOf, inMiB } from "../statistics/cells.ts";
import type { Samples, TlsShare } from "../statistics/samples.ts";
import { fewestRuns } from "../statistics/statistics.ts";

export const zerosNotSent =
  "Zero bytes were not sent, unlike in the thesis: its ratios stand beside a lighter load here.";

/** What makes this profile weaker than a whole one, a sentence each; none for a whole one. */
export function profileWarnings(samples: Samples): string[] {
  const counts = cellsOf(samples.samples).map((cell) => cell.samples.length);
  const fewest = Math.min(...counts);
  return [
    ...(samples.partial
      ? [`This profile was cut short: what follows rests on ${runs(samples.samples.length)}.`]
      : []),
    ...(fewest < fewestRuns
      ? [
          `${counts.every((count) => count === fewest) ? "Each" : "The least measured"} combination of suite and size has ${runs(fewest)}: an interval takes at least ${fewestRuns}, so there is none, and no small difference is to be believed.`,
        ]
      : []),
    ...(samples.zeroBytesSent ? [] : [zerosNotSent]),
  ];
}

/** Names and values of the environment and the plan, in reading order. */
export function environmentFacts(samples: Samples): [string, string][] {
  const { environment, seed, plan } = samples;
  const { tlsShare } = environment;
  return [
    ["Processor", environment.cpu],
    ["Cores", String(environment.cores)],
    ["Kernel", environment.kernel],
    ["Link", environment.link],
    ["migrate", environment.migrate],
    ["Bun", environment.bun],
    ["CPU clock", `${environment.clockCostNs.toFixed(0)} ns for one reading, subtracted`],
    ...(tlsShare === undefined ? [] : [["Cryptography of tls", tlsText(tlsShare)] as [string, string]]),
    ["Begun", samples.startedAt],
    ["Order of runs", `shuffled, seed ${seed}`],
    ["Zero bytes", samples.zeroBytesSent ? "sent like all others" : "not sent"],
    ...(plan === undefined ? [] : [["Planned", planText(plan)] as [string, string]]),
  ];
}

function tlsText(share: { source: TlsShare; destination: TlsShare }): string {
  const side = (name: "source" | "destination") =>
    `${percent(share[name].share)} ± ${percent(share[name].error)} on the ${name}`;
  return `${side("source")}, ${side("destination")}, of the CPU time of the socket calls that it runs in (one standard error)`;
}

function planText({ suites, engine, ramBytes, diskBytes, runs: count, vm }: NonNullable<Samples["plan"]>) {
  const ram = `${list(ramBytes.map(inMiB))} MiB of RAM`;
  const disks = diskBytes.map((bytes) =>
    bytes === 0 ? "without disk" : `with a disk of ${inMiB(bytes)} MiB`,
  );
  const source = vm === undefined ? "" : `, files of ${vm}`;
  return `${runs(count)} each of ${list(suites)}, ${ram}, ${list(disks)}, engine ${engine}${source}`;
}
