import { expect, test } from "bun:test";
import { parseCommandLine, usage } from "./command-line.ts";

const everything = { quick: false, requireLive: false, oneLive: false, paths: [] };

test.each([
  ["nothing", [], everything],
  ["--quick", ["--quick"], { ...everything, quick: true }],
  ["--require-live", ["--require-live"], { ...everything, requireLive: true }],
  ["--one-live", ["--one-live"], { ...everything, oneLive: true }],
  [
    "paths, in their order",
    ["test/vm", "test/a.test.ts"],
    { ...everything, paths: ["test/vm", "test/a.test.ts"] },
  ],
  ["paths and --quick", ["test/vm", "--quick"], { ...everything, quick: true, paths: ["test/vm"] }],
])("%s is understood", (_what, argv, request) => {
  expect(parseCommandLine(argv, false)).toEqual({ kind: "run", request });
});

test("a CI requires the live tests of everything but --quick", () => {
  expect(parseCommandLine([], true)).toMatchObject({ request: { requireLive: true } });
  expect(parseCommandLine(["--quick"], true)).toMatchObject({ request: { requireLive: false } });
});

test("what is not known, or contradicts itself, is refused with a sentence", () => {
  expect(parseCommandLine(["--fast"], false)).toEqual({
    kind: "refused",
    why: "There is no --fast: --quick, --require-live, --one-live and --help are all.",
  });
  expect(parseCommandLine(["-q"], false)).toMatchObject({ kind: "refused" });
  expect(parseCommandLine(["--quick", "--require-live"], false)).toMatchObject({ kind: "refused" });
});

test("--help comes before all else, and tells of every flag", () => {
  expect(parseCommandLine(["--fast", "--help"], false)).toEqual({ kind: "help" });
  for (const flag of ["--quick", "--require-live", "--one-live", "--help", "PATH"])
    expect(usage).toContain(flag);
});
