import { describe, expect, test } from "bun:test";
import { flagOf, parseArguments, wantsJson } from "../../../src/commands/cli/arguments.ts";
import {
  duration,
  list,
  needed,
  oneOf,
  optional,
  size,
  toggle,
  wholeNumber,
  withDefault,
} from "../../../src/commands/cli/option.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";

const options = {
  store: needed("DIR", "Where"),
  disk: list("FILE", "Disks"),
  once: toggle("Once"),
  maxSessions: withDefault("N", "Most", "4", wholeNumber(1, 16)),
  after: optional("WHAT", "After", oneOf(["keep", "delete"])),
  retryFor: withDefault("TIME", "How long", "10m", duration(0, 3_600_000)),
  bandwidth: optional("RATE", "At most", size),
};
const positionals = { names: ["VM", "HOST:PORT"], least: 1 };

function parse(...words: string[]) {
  return parseArguments("migrate test", options, positionals, words);
}

/** Message and hint of the refusal. */
function refusal(...words: string[]): string {
  try {
    parse(...words);
  } catch (thrown) {
    if (thrown instanceof MigrateError && thrown.code === "usage") return `${thrown.message}\n${thrown.hint}`;
    throw thrown;
  }
  throw new Error(`${words.join(" ")} was not refused`);
}

describe("reading arguments", () => {
  test("flags and positionals in any order, values apart or behind an equals sign", () => {
    const parsed = parse(
      "vm",
      "--store",
      "/s",
      "--disk=a",
      "--once",
      "h:1",
      "--disk",
      "b",
      "--json",
      "--retry-for=5s",
    );
    expect(parsed).toEqual({
      help: false,
      json: true,
      positionals: ["vm", "h:1"],
      values: {
        store: "/s",
        disk: ["a", "b"],
        once: true,
        maxSessions: 4,
        after: undefined,
        retryFor: 5000,
        bandwidth: undefined,
      },
    });
  });

  test("behind -- everything is a positional, and a lone dash is one anywhere", () => {
    expect(parse("--store=s", "--", "--once", "-").positionals).toEqual(["--once", "-"]);
  });

  test("a value may begin with a dash behind an equals sign only", () => {
    expect(parse("vm", "--store=-s").values.store).toBe("-s");
    expect(refusal("vm", "--store", "-s")).toContain(
      "--store needs a value: --store DIR\nA value that begins with a dash",
    );
  });

  test("--help wins over everything that is missing, but not over an unknown flag", () => {
    expect(parse("--help").help).toBe(true);
    expect(parse("-h", "a", "b", "c").help).toBe(true);
    expect(refusal("--help", "--hlep")).toStartWith("Unknown flag --hlep");
  });

  test.each([
    [["vm", "--stroe", "x"], "Unknown flag --stroe\nDid you mean --store?\nSee migrate test --help"],
    [["vm", "--max-session=1"], "Unknown flag --max-session\nDid you mean --max-sessions?"],
    [["vm", "-store"], "Unknown flag -store\nDid you mean --store?"],
    [["vm", "--no-once"], "Unknown flag --no-once\nSee migrate test --help"],
    [["vm", "--maxSessions", "1"], "Unknown flag --maxSessions\nDid you mean --max-sessions?"],
    [["vm", "--zzzzzzzz"], "Unknown flag --zzzzzzzz\nSee migrate test --help"],
    [["vm", "--__proto__=1"], "Unknown flag --__proto__"],
    [["vm", "--store"], "--store needs a value: --store DIR"],
    [["vm", "--store="], "--store needs a value"],
    [["vm", "--store", "--once"], "--store needs a value"],
    [["vm", "--once=yes", "--store=x"], "--once takes no value"],
    [["vm", "--once", "--once"], "--once is given twice"],
    [["vm", "--store=a", "--store=b"], "--store is given twice"],
    [["vm", "--json", "--json", "--store=x"], "--json is given twice"],
    [["vm", "--json=1"], "--json takes no value"],
    [["vm"], "--store is missing\nAdd --store DIR"],
    [["--store=x"], "VM is missing"],
    [["a", "b", "c", "--store=x"], 'Unexpected argument "c"'],
    [["vm", "--store=x", "--max-sessions=0"], '--max-sessions must be a whole number from 1 to 16, not "0"'],
    [["vm", "--store=x", "--max-sessions=1e1"], "--max-sessions must be a whole number"],
    [["vm", "--store=x", "--max-sessions=17"], "--max-sessions must be a whole number"],
    [["vm", "--store=x", "--after=burn"], '--after must be one of keep, delete, not "burn"'],
    [["vm", "--store=x", "--retry-for=2h"], "--retry-for must be from 0 ms to 1 h"],
    [
      ["vm", "--store=x", "--retry-for=10"],
      '--retry-for cannot be read: "10" is not a duration\nWrite a number with its unit',
    ],
    [["vm", "--store=x", "--bandwidth=fast"], '--bandwidth cannot be read: "fast" is not a size'],
  ])("refuses %j", (words, expected) => {
    expect(refusal(...words)).toStartWith(expected);
    expect(refusal(...words)).toEndWith("See migrate test --help");
  });

  test("--json is seen in a command line that is otherwise wrong, but not behind --", () => {
    expect(wantsJson(["x", "--foo", "--json"])).toBe(true);
    expect(wantsJson(["x", "--", "--json"])).toBe(false);
  });

  test("names become flags", () => {
    expect(flagOf("tpmState")).toBe("--tpm-state");
  });
});
