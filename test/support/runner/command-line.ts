/** The arguments of the test command. Pure: what is to be run, or why not. */

/** What `bun run test --help` prints. */
export const usage = `bun run test [--quick] [--require-live] [--one-live] [PATH…]

Without arguments: type-check, lint, build and every test. The last line has the counts; the exit code is 0
if nothing failed, 1 if something did, 2 for arguments that are not understood.

--quick         Leaves out the live tests and the exhaustive ones (test/support/runner/sets.ts names them).
--require-live  A live test that had to be left out is a failure. CI=true in the environment means the same.
--one-live      One live test file at a time, and nothing beside it: slower, and steadier on a machine that
                others use as well.
PATH…           Only these test files, or those below these folders, whatever set they belong to, with what
                they need (the build; the live tests' tools). With --quick only the quick ones of them.
                Types and lint are not checked then.
--help          Prints this.
`;

export interface TestRequest {
  /** Without live and exhaustive tests. */
  quick: boolean;
  /** A live test that is left out is a failure. */
  requireLive: boolean;
  /** Nothing runs beside a live test. */
  oneLive: boolean;
  /** Files or folders, as given; empty for all. */
  paths: string[];
}

export type CommandLine =
  | { kind: "help" }
  | { kind: "refused"; why: string }
  | { kind: "run"; request: TestRequest };

const known = ["--quick", "--require-live", "--one-live"];

/** Takes the arguments behind the program's name, and whether this is a CI's run. */
export function parseCommandLine(argv: readonly string[], isCi: boolean): CommandLine {
  const flags = new Set(argv.filter((argument) => argument.startsWith("-")));
  if (flags.has("--help")) return { kind: "help" };
  const unknown = [...flags].find((flag) => !known.includes(flag));
  if (unknown !== undefined) {
    return { kind: "refused", why: `There is no ${unknown}: ${known.join(", ")} and --help are all.` };
  }
  const quick = flags.has("--quick");
  if (quick && flags.has("--require-live")) {
    return { kind: "refused", why: "--quick leaves the live tests out, and --require-live requires them." };
  }
  const paths = argv.filter((argument) => !argument.startsWith("-"));
  return {
    kind: "run",
    request: {
      quick,
      requireLive: !quick && (flags.has("--require-live") || isCi),
      oneLive: flags.has("--one-live"),
      paths,
    },
  };
}
