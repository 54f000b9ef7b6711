/** What attestation adds to a move, in tables and in words. Pure. */
import { list, meanMilliseconds, meanSeconds, nothing, seconds, withInterval } from "../notation/notation.ts";
import type { Table } from "../notation/table.ts";
import type { AttestCost, MoveSample, ProofMoment, ProofSample } from "../statistics/attest-samples.ts";
import { inMiB } from "../statistics/cells.ts";
import { difference, fewestRuns, mean, median, summarise } from "../statistics/statistics.ts";

/** What this program aims at, in milliseconds: all that attestation adds, and the part for which a guest stands still. */
const aimMs = { all: 500, standstill: 50 };

const proofWords: Readonly<Record<ProofMoment, { before: string; what: string }>> = {
  offer: { before: "OFFER", what: "a quote, and the logs" },
  start: { before: "START", what: "a quote" },
  release: { before: "RELEASE", what: "a quote, while the guest stands still" },
};
const moments: readonly ProofMoment[] = ["offer", "start", "release"];

/** The tables in reading order; that of moves only where some were measured. */
export function attestTables(cost: AttestCost): Table[] {
  return [...(cost.moves.length === 0 ? [] : [movesTable(cost)]), proofsTable(cost)];
}

/** The answer for who reads no tables. */
export function attestWords(cost: AttestCost): string {
  // In a move it is the same question.
  const last = timesOf([...cost.proofs, ...cost.moves], "release");
  const middle = median(last);
  return [
    addedWords(cost),
    `A guest that runs stands still for the last quote alone: ${ms(middle)} in the middle (${verdict(middle, aimMs.standstill)}), ${ms(Math.max(...last))} at most.`,
    ...(cost.tpm.startsWith("swtpm")
      ? ["swtpm is a program: a chip takes longer, and --to HOST measures that of another host."]
      : []),
    ...(cost.proofs.length < fewestRuns
      ? [`With fewer than ${fewestRuns} runs these are hints (--runs).`]
      : []),
  ].join(" ");
}

function addedWords(cost: AttestCost): string {
  const [tls, attested] = [of(cost, false), of(cost, true)];
  if (attested.length === 0 || tls.length === 0) {
    const all = mean(sums(cost.proofs));
    return `All proofs of a move take ${ms(all)} over this link (${verdict(all, aimMs.all)}).`;
  }
  const added = difference(total(attested), total(tls));
  const proofs = mean(sums(attested));
  const told = withInterval(added, (value) => seconds(value, 1));
  const aim = verdict(Math.max(added.value, proofs), aimMs.all);
  const isChance = added.value <= 0 || (added.interval !== undefined && added.interval.low <= 0);
  return isChance
    ? `What attestation adds to a move does not stand out from what two moves differ by chance (${told} s): its proofs take ${ms(proofs)} (${aim}).`
    : `Attestation adds ${told} s to a move, of which its proofs are ${ms(proofs)} (${aim}).`;
}

function movesTable(cost: AttestCost): Table {
  const [tls, attested] = [of(cost, false), of(cost, true)];
  const row = (what: string, value: (move: MoveSample) => number) => [
    what,
    meanSeconds(summarise(tls.map(value))),
    meanSeconds(summarise(attested.map(value))),
    withInterval(difference(attested.map(value), tls.map(value)), (found) => seconds(found, 1)),
  ];
  const known = cost.moves.every(({ tpmCpuMs }) => tpmCpuMs !== undefined);
  return {
    id: "attest-moves",
    title: `What attestation adds to a move of ${inMiB(cost.ramBytes)} MiB, seconds`,
    columns: [
      { title: "", align: "left" },
      { title: "tls", align: "right" },
      { title: "attested", align: "right" },
      { title: "added", align: "right" },
    ],
    rows: [
      row("in all", ({ totalMs }) => totalMs),
      row("CPU of the source", ({ sourceCpuMs }) => sourceCpuMs),
      row("CPU of the destination", ({ destinationCpuMs }) => destinationCpuMs),
      ...(known ? [row("CPU of the TPM", ({ tpmCpuMs = 0 }) => tpmCpuMs)] : []),
    ],
    notes: [
      `The destination's TPM is ${cost.tpm}. Its CPU time is not that of the destination.`,
      "The VM is suspended and its files are made up: there is no START, and no guest that stands still.",
      "Means ± 95 % Student intervals; what is added with Welch's 95 % interval.",
    ],
  };
}

function proofsTable({ proofs, moves, tpm, link }: AttestCost): Table {
  const rows = moments.map((moment) => {
    const alone = timesOf(proofs, moment);
    const moved = timesOf(moves, moment);
    return [
      proofWords[moment].before,
      ...[meanMilliseconds(summarise(alone)), ms(median(alone)), ms(Math.max(...alone))],
      moved.length === 0 ? nothing : meanMilliseconds(summarise(moved)),
      proofWords[moment].what,
    ];
  });
  const all = sums(proofs);
  const inMoves = moves.filter(({ attested }) => attested);
  const allRow = [
    "all of them",
    ...[meanMilliseconds(summarise(all)), ms(median(all)), ms(Math.max(...all))],
    inMoves.length === 0 ? nothing : meanMilliseconds(summarise(sums(inMoves))),
    "",
  ];
  const cpu = [
    `${ms(mean(proofs.map(({ sourceCpuMs }) => sourceCpuMs)))} of the source's`,
    ...cpuOf(proofs, "destinationCpuMs", "of the destination's"),
    ...cpuOf(proofs, "tpmCpuMs", "of the TPM's"),
  ];
  return {
    id: "attest-proofs",
    title: `The proofs of a move, ${link === "loopback" ? "on this host" : `to ${link}`}, milliseconds`,
    columns: [
      { title: "before", align: "left" },
      ...["mean", "median", "slowest", "in a move"].map((title) => ({ title, align: "right" }) as const),
      { title: "what is asked for", align: "left" },
    ],
    rows: [...rows, allRow],
    notes: [
      `The TPM is ${tpm}. From the question to the judgement, on the source's clock.`,
      `The three together, and the connection for them, took ${list(cpu)} CPU time.`,
    ],
  };
}

function cpuOf(proofs: readonly ProofSample[], name: "destinationCpuMs" | "tpmCpuMs", words: string) {
  const known = proofs.flatMap((sample) => sample[name] ?? []);
  return known.length === 0 ? [] : [`${ms(mean(known))} ${words}`];
}

const of = ({ moves }: AttestCost, attested: boolean) => moves.filter((move) => move.attested === attested);
const total = (moves: readonly MoveSample[]) => moves.map(({ totalMs }) => totalMs);

const timesOf = (samples: readonly Pick<ProofSample, "proofs">[], moment: ProofMoment) =>
  samples.flatMap(({ proofs }) =>
    proofs.filter((proof) => proof.moment === moment).map(({ wallMs }) => wallMs),
  );

const sums = (samples: readonly Pick<ProofSample, "proofs">[]) =>
  samples.map(({ proofs }) => proofs.reduce((sum, { wallMs }) => sum + wallMs, 0));

const ms = (value: number) => `${value.toFixed(value >= 100 ? 0 : 1)} ms`;

const verdict = (value: number, aim: number) =>
  value < aim
    ? `the aim is less than ${aimText(aim)}`
    : `more than the aim, which is less than ${aimText(aim)}`;

const aimText = (aim: number) => (aim >= 500 ? `${aim / 1000} s` : `${aim} ms`);
