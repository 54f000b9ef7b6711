/**
 * How a claim is judged: figures with intervals against a region in which they must lie. Pure.
 *
 * One rule for all claims. It "holds" if every figure's 95 % interval lies within its region; it
 * "does not hold" if some figure's interval lies wholly outside; in every other case (an interval
 * across the edge, too few runs for an interval, nothing measured) the data "cannot tell".
 */
import { intervalText, list } from "../notation/notation.ts";
import type { Samples } from "../statistics/samples.ts";
import { type Estimate, fewestRuns } from "../statistics/statistics.ts";

/** The rule in a sentence, for those who read the verdicts. */
export const verdictRule =
  "A claim holds if every 95 % interval lies within its limits, and does not hold if one lies wholly outside; else the data cannot tell.";

export type Verdict = "holds" | "does not hold" | "cannot tell";

/** Where a figure must lie, its ends with it; an end that is absent does not bind. */
export interface Region {
  low?: number;
  high?: number;
}

export interface Observation {
  /** "rc4, source, 1024 MiB without disk" */
  where: string;
  estimate: Estimate;
  region: Region;
}

/** What is asked of a run's data. */
export interface Question {
  /** Stable, for scripts and anchors. */
  id: string;
  /** The thesis's claim, or the part of it that this question is about, in one sentence. */
  claim: string;
  /** When the claim holds, in one sentence. */
  rule: string;
  /** Every figure that bears on it; none if it was not measured. */
  observe: (samples: Samples) => Observation[];
  /** What is missing if there is no figure, in one sentence. */
  missing: string;
  write: (value: number) => string;
}

export interface Judgement {
  id: string;
  claim: string;
  rule: string;
  verdict: Verdict;
  /** The figure that decided, with its interval and its place; undefined if there is none. */
  figure: string | undefined;
  /** Why, in plain words; the verdict itself is not repeated. */
  sentence: string;
}

/** The answer of some samples to a question. */
export function judge(question: Question, samples: Samples): Judgement {
  const { id, claim, rule, missing, write } = question;
  const observations = question.observe(samples);
  const { verdict, deciding } = decide(observations);
  const figure = deciding === undefined ? undefined : figureText(deciding, write);
  const certain = deciding?.estimate.interval !== undefined;
  return {
    id,
    claim,
    rule,
    verdict,
    figure,
    sentence: figure === undefined ? missing : sentenceOf(verdict, figure, certain, observations),
  };
}

/**
 * The verdict, and the figure that decides it: the one furthest outside if the claim does not hold, the
 * one nearest to the edge if it holds, the first that is undecided if the data cannot tell.
 */
export function decide(observations: readonly Observation[]): {
  verdict: Verdict;
  deciding: Observation | undefined;
} {
  const outside = observations.filter(isOutside);
  if (outside.length > 0) return { verdict: "does not hold", deciding: nearestOf(outside) };
  const open = observations.filter((observation) => !isInside(observation));
  // Among the undecided, one that lies across the edge is more telling than one of too few runs.
  const undecided = open.find(({ estimate }) => estimate.interval !== undefined) ?? open[0];
  if (undecided !== undefined || observations.length === 0)
    return { verdict: "cannot tell", deciding: undecided };
  return { verdict: "holds", deciding: nearestOf(observations) };
}

function sentenceOf(
  verdict: Verdict,
  figure: string,
  certain: boolean,
  observations: readonly Observation[],
): string {
  const all = observations.length;
  const places = all === 1 ? "the one place" : `all ${all} places`;
  if (verdict === "holds") return `So in ${places} where it was measured. Nearest to the limit: ${figure}.`;
  if (verdict === "does not hold") {
    const count = observations.filter(isOutside).length;
    return `Not so in ${count === all ? places : `${count} of ${all} places`}${all === 1 ? "" : ". Furthest off"}: ${figure}.`;
  }
  return certain
    ? `It may lie on either side of the limit: ${figure}.`
    : `A figure without an interval decides nothing (that takes at least ${fewestRuns} runs, and a difference that stands out from the noise): ${figure}.`;
}

function figureText({ where, estimate, region }: Observation, write: (value: number) => string): string {
  const limits = [
    ...(region.low === undefined ? [] : [`at least ${write(region.low)}`]),
    ...(region.high === undefined ? [] : [`at most ${write(region.high)}`]),
  ];
  const interval = estimate.interval === undefined ? "" : ` ${intervalText(estimate.interval, write)}`;
  return `${write(estimate.value)}${interval} for ${where} (limit: ${list(limits)})`;
}

function isInside({ estimate: { interval }, region }: Observation): boolean {
  return (
    interval !== undefined &&
    (region.low === undefined || interval.low >= region.low) &&
    (region.high === undefined || interval.high <= region.high)
  );
}

function isOutside({ estimate: { interval }, region }: Observation): boolean {
  return (
    interval !== undefined &&
    ((region.low !== undefined && interval.high < region.low) ||
      (region.high !== undefined && interval.low > region.high))
  );
}

/** The one with the least room to an end of its region; room outside is below 0. */
function nearestOf(observations: readonly Observation[]): Observation | undefined {
  const room = ({ estimate: { value }, region }: Observation) =>
    Math.min(
      value - (region.low ?? Number.NEGATIVE_INFINITY),
      (region.high ?? Number.POSITIVE_INFINITY) - value,
    );
  return observations.toSorted((a, b) => room(a) - room(b))[0];
}
