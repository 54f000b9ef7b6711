/** The thesis's claims, each judged on a run's data. Pure. */

import type { Table } from "../notation/table.ts";
import type { Samples } from "../statistics/samples.ts";
import { cpuQuestions } from "./cpu-claims.ts";
import { type Judgement, judge, verdictRule } from "./judgement.ts";
import { timeQuestions } from "./time-claims.ts";

/** Every claim in the thesis's order; one that has several parts is judged part by part. */
export function judgeClaims(samples: Samples): Judgement[] {
  return [...cpuQuestions, ...timeQuestions].map((question) => judge(question, samples));
}

/** The judgements as a table, with the rule of each as a note. */
export function claimsTable(judgements: readonly Judgement[]): Table {
  return {
    id: "claims",
    title: "The thesis's claims, on this run's data",
    columns: [
      { title: "claim", align: "left" },
      { title: "verdict", align: "left" },
      { title: "why", align: "left" },
    ],
    rows: judgements.map(({ claim, verdict, sentence }) => [claim, verdict, sentence]),
    notes: [verdictRule, ...judgements.map(({ id, rule }) => `${id}: ${rule}`)],
  };
}
