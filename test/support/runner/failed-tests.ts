/** What failed in a `bun test`, told once more at its end, where the eye is and where a cut log still has it. */

export interface FailedTest {
  /** The file as `bun test` names it, then the describe blocks and the test's name. */
  name: string;
  /** What stood before the verdict: the error, and what the test wrote; its last `toldLines` lines. */
  told: string[];
}

const toldLines = 40;

/**
 * The failed tests of one `bun test`, from all that it wrote, in their order. An error outside of tests has
 * no verdict; it counts under its file's name. What passed is not told of.
 */
export function failedTests(output: string): FailedTest[] {
  const failed: FailedTest[] = [];
  let file = "";
  let since: string[] = [];
  for (const line of output.replace(/\u001b\[[0-9;]*m/g, "").split("\n")) {
    // What failed is told once more by bun test itself, but by its name alone.
    if (/^\d+ tests? failed:$/.test(line)) break;
    const heading = /^(\S+\.test\.ts):$/.exec(line);
    const verdict = /^\((pass|fail|skip|todo)\) (.*?)(?: \[[\d.]+m?s\])?$/.exec(line);
    if (verdict?.[1] === "fail") failed.push({ name: `${file}: ${verdict[2]}`, told: since });
    if (heading?.[1] !== undefined) file = heading[1];
    if (heading !== null || verdict !== null) since = [];
    else if (line.startsWith("# Unhandled error")) {
      since = [];
      failed.push({ name: `${file}: an error outside of its tests`, told: since });
    } else if (line.trim() !== "") since.push(line);
  }
  return failed.map(({ name, told }) => ({ name, told: told.slice(-toldLines) }));
}
