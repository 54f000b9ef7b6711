/** What `bun test` says at its end. Its exit code alone can lie: a stray process.exit(0) ends it well. */

export interface TestSummary {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * The counts of one `bun test` from all that it wrote and its exit code. Where the closing line
 * ("Ran N tests across M files") is missing or does not add up, or the exit code says failure without
 * a failed test, that counts as one failure more.
 */
export function summaryOfTests(output: string, exitCode: number | null): TestSummary {
  const text = output.replace(/\u001b\[[0-9;]*m/g, "");
  const closing = [...text.matchAll(/^Ran (\d+) tests? across (\d+) files?\./gm)].at(-1);
  const tail = closing === undefined ? "" : text.slice(0, closing.index);
  const count = (name: string) =>
    Number([...tail.matchAll(new RegExp(`^ *(\\d+) ${name}$`, "gm"))].at(-1)?.[1] ?? 0);
  const summary = { passed: count("pass"), failed: count("fail"), skipped: count("skip") + count("todo") };
  const ran = Number(closing?.[1] ?? Number.NaN);
  const addsUp = ran === summary.passed + summary.failed + summary.skipped && ran > 0;
  if (!addsUp || (exitCode !== 0 && summary.failed === 0)) summary.failed += 1;
  return summary;
}
