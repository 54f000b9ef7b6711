/** What is decided for one chunk after the other, where `auto.test.ts` sees what comes of it in all. */
import { expect, test } from "bun:test";
import { CompressionChoice } from "../../../src/transfer/compression/compression-choice.ts";
import { LevelTable } from "../../../src/transfer/compression/level-table.ts";
import { LinkEstimate } from "../../../src/transfer/compression/link-estimate.ts";

test("a sample is kept until it is known whether processors are idle", () => {
  const link = new LinkEstimate();
  link.periods = 1;
  link.wireMsPerMiB = 8;
  let idleShare: number | null = null;
  const choice = new CompressionChoice(link, new LevelTable(), () => idleShare, 19);
  expect(choice.plan(0)).toEqual({ level: 0, sample: "learn" });
  choice.sampled(0, 0.3, 0.2, 2.5);
  expect(choice.plan(1)).toEqual({ level: 0, sample: "none" });
  idleShare = 1;
  expect(choice.plan(2)).toEqual({ level: 1, sample: "none" });
});

test("a sample counts once where the processors are busy", () => {
  const link = new LinkEstimate();
  link.periods = 1;
  link.wireMsPerMiB = 8;
  let idleShare = 0;
  const choice = new CompressionChoice(link, new LevelTable(), () => idleShare, 19);
  choice.plan(0);
  choice.sampled(0, 0.3, 0.2, 2.5);
  expect(choice.plan(1)).toEqual({ level: 0, sample: "none" });
  idleShare = 1;
  expect(choice.plan(2)).toEqual({ level: 0, sample: "none" });
});
