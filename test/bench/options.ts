/** What the benchmark is asked to do. */
import { parseArgs } from "node:util";
import { contenderNames } from "./contenders.ts";
import { inputNames } from "./inputs.ts";
import { type LinkName, linkNames } from "./link.ts";

export interface BenchOptions {
  rounds: number;
  /** The size that all inputs are made from: so many random bytes, so much guest RAM, so much data on the disk. */
  sizeMiB: number;
  inputs: string[];
  links: LinkName[];
  contenders: string[];
  /** Where inputs and copies lie. */
  folder: string;
  seed: number;
  /** Where the raw samples go. */
  json: string | undefined;
  /** Whether missing peers are installed (root, apt). */
  install: boolean;
}

export const usage = `bun run bench [--rounds 5] [--size MIB] [--inputs a,b] [--link a,b] [--contenders a,b]
              [--folder DIR] [--seed N] [--json FILE] [--install]

  --rounds      how often each contender moves each input (default 5)
  --size        MiB of random bytes, of guest RAM, and of data on the disk (default 1024)
  --inputs      of ${inputNames.join(", ")} (default random,ram,disk)
  --link        of ${linkNames.join(", ")} (default loopback; gigabit needs root)
  --contenders  of ${contenderNames.join(", ")} (default all)
  --folder      where inputs and copies lie (default /dev/shm, so that no disk is measured)
  --seed        of the order of the runs (default: a new one, printed)
  --json        a file for the raw samples
  --install     install missing peers with apt (as root)`;

/** Reads the command line. Throws an Error with a sentence where it makes no sense. */
export function readOptions(args: string[]): BenchOptions {
  const { values } = parseArgs({
    args,
    strict: true,
    options: {
      rounds: { type: "string", default: "5" },
      size: { type: "string", default: "1024" },
      inputs: { type: "string", default: "random,ram,disk" },
      link: { type: "string", default: "loopback" },
      contenders: { type: "string", default: contenderNames.join(",") },
      folder: { type: "string", default: "/dev/shm" },
      seed: { type: "string" },
      json: { type: "string" },
      install: { type: "boolean", default: false },
    },
  });
  return {
    rounds: wholeNumber("--rounds", values.rounds, 1, 1000),
    sizeMiB: wholeNumber("--size", values.size, 16, 64 * 1024),
    inputs: listOf("--inputs", values.inputs, inputNames),
    links: listOf("--link", values.link, linkNames),
    contenders: listOf("--contenders", values.contenders, contenderNames),
    folder: values.folder,
    seed: seedOf(values.seed),
    json: values.json,
    install: values.install,
  };
}

/** The number of an option. Throws an Error with a sentence where it is none or out of its bounds. */
export function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Error(`${flag} takes a whole number from ${least} to ${most}, not ${text}`);
}

/** The seed of an order, a new one where none is given. Throws an Error with a sentence where it is no seed. */
export function seedOf(text: string | undefined): number {
  if (text === undefined) return crypto.getRandomValues(new Uint32Array(1))[0]!;
  return wholeNumber("--seed", text, 0, 2 ** 32 - 1);
}

/** Names with commas between them, each once. Throws an Error with a sentence where one is not known. */
export function listOf<Name extends string>(flag: string, text: string, known: readonly Name[]): Name[] {
  const names = [...new Set(text.split(","))];
  const isKnown = (name: string): name is Name => (known as readonly string[]).includes(name);
  const strange = names.find((name) => !isKnown(name));
  if (strange !== undefined) throw new Error(`${flag} knows ${known.join(", ")}, not ${strange}`);
  return names.filter(isKnown);
}
