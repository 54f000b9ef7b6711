/** `migrate profile` as it is typed: its refusals here, its measurements in profile-run.test.ts. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CommandGroup } from "../../src/commands/cli/define-command.ts";
import { runProgram } from "../../src/commands/cli/program.ts";
import {
  planFor,
  quick,
  sizeOrNone,
  sizes,
  suites,
  thesis,
} from "../../src/commands/profile/profile-plan.ts";
import { samplesVersion } from "../../src/profiler/statistics/samples.ts";
import { syntheticSamples } from "../support/files/synthetic-samples.ts";
import { TestWorld } from "./world.ts";

const tree: CommandGroup = {
  name: "migrate",
  summary: "move VMs",
  commands: {
    profile: async () => (await import("../../src/commands/profile.ts")).default,
    "profile-side": async () => (await import("../../src/commands/profile-side.ts")).default,
  },
};

let world: TestWorld;
beforeEach(() => {
  world = new TestWorld();
});
afterEach(() => world.remove());

const run = (...words: string[]) => runProgram(tree, words, world);
const profile = (...words: string[]) => run("profile", ...words);

/** A samples file of this test. */
function write(name: string, content: unknown): string {
  const path = join(world.folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

describe("bad input is a clear sentence, and exit code 2 if it is the command line that is wrong", () => {
  const cases: [words: string[], sentence: RegExp, code?: number][] = [
    [["--runs", "0"], /--runs must be a whole number from 1 to 1000, not "0"/],
    [["--runs", "many"], /--runs must be a whole number/],
    [
      ["--suites", "tls,rc5"],
      /--suites has no suite "rc5" to offer[\s\S]*Did you mean rc4\? There are insecure, tls,/,
    ],
    [["--suites", "nonsense"], /There are insecure, tls, aes-128, rc4, 3des, aes-128-gcm, chacha20-poly1305/],
    [["--ram", "12x"], /--ram cannot be read: "12x" is not a size/],
    [["--ram", "1000T"], /takes 2048000.1 GiB of room, and .* has only .* free/, 6],
    [["--disk", "1000T"], /free/, 6],
    [["--engine", "fast"], /--engine must be one of thesis, full, not "fast"/],
    [
      ["--engine", "full", "--suites", "tls,rc4"],
      /--engine full has no suite rc4: the product itself knows insecure and tls alone/,
    ],
    [["--engine", "full", "--to", "127.0.0.1:1"], /--engine full measures on this host alone/],
    [["--ticket", "mig1-x"], /--ticket belongs to --to/],
    [["--to", "host:0"], /--to must be HOST:PORT/],
    [["nowhere"], /The VM's folder nowhere does not exist/, 6],
    [["--compare", "one.json"], /--compare needs two samples files/],
    [["one", "two"], /Unexpected argument "two"/],
    [["--replay", "nowhere.json"], /nowhere\.json does not exist/, 6],
    [["--resume", "nowhere.json"], /nowhere\.json does not exist/, 6],
    [["--seed", "-1"], /--seed/],
  ];
  test.each(cases)("%j", async (words, sentence, code = 2) => {
    expect(await profile(...words, "--out", join(world.folder, "out"))).toBe(code);
    expect(world.take().stderr).toMatch(sentence);
    // Nothing is left behind, not even an empty folder.
    expect(readdirSync(world.folder).filter((name) => name !== "home")).toEqual([]);
  });

  test("a samples file from a newer version, whatever it is wanted for", async () => {
    const newer = write("newer.json", { ...syntheticSamples(), version: samplesVersion + 1 });
    for (const words of [
      ["--replay", newer],
      ["--resume", newer],
      ["--compare", newer, newer],
    ]) {
      expect(await profile(...words)).toBe(6);
      expect(world.take().stderr).toContain(`${newer} comes from a newer migrate`);
    }
  });

  test("a profile that is complete, or does not say its plan, is not taken up again", async () => {
    const { plan: _, ...bare } = syntheticSamples();
    expect(await profile("--resume", write("bare.json", bare))).toBe(2);
    expect(world.take().stderr).toContain("does not say what else was to be measured");
    const plan = { suites: ["insecure"], engine: "thesis", ramBytes: [1], diskBytes: [0], runs: 1 };
    expect(await profile("--resume", write("done.json", { ...bare, plan, partial: false }))).toBe(2);
    expect(world.take().stderr).toContain("is complete");
    const partial = write("partial.json", { ...bare, plan, partial: true });
    expect(await profile("--resume", partial, "--runs", "9")).toBe(2);
    expect(world.take().stderr).toContain(
      "--resume takes sizes, suites, runs and seed from the samples file",
    );
    expect(await profile("--resume", partial, "--to", "127.0.0.1:1")).toBe(2);
    expect(world.take().stderr).toContain("was measured on one host");
  });
});

describe("what is measured", () => {
  const asked = {
    thesis: false,
    ram: undefined,
    disk: undefined,
    suites: undefined,
    runs: undefined,
    engine: "thesis",
  } as const;

  test("quick: small sizes, few runs, the thesis's suites and tls, with and without disk", () => {
    const plan = planFor(asked);
    expect(plan).toEqual({
      suites: ["insecure", "tls", "aes-128", "rc4", "3des"],
      engine: "thesis",
      ramBytes: quick.ramBytes,
      diskBytes: [0, quick.diskBytes],
      runs: 3,
    });
    // Under a minute with 3DES at 20 MiB/s.
    const megabytes =
      (plan.runs * plan.ramBytes.reduce((sum, ram) => sum + 2 * ram + quick.diskBytes, 0)) / 1024 ** 2;
    expect(megabytes / 20).toBeLessThan(45);
  });

  test("--thesis: its RAM sizes, with and without disk, 5 runs; other flags still count", () => {
    const MiB = 1024 ** 2;
    expect(planFor({ ...asked, thesis: true })).toMatchObject({
      ramBytes: [128, 256, 512, 768, 1024].map((size) => size * MiB),
      diskBytes: [0, thesis.diskBytes],
      runs: 5,
    });
    expect(planFor({ ...asked, thesis: true, runs: 7, disk: 0, suites: ["rc4"], ram: [5] })).toMatchObject({
      ramBytes: [5],
      diskBytes: [0],
      runs: 7,
      suites: ["rc4"],
    });
  });

  test("a VM has its own sizes, and no others", () => {
    const vm = { folder: "/srv/web1", ramBytes: 100, diskBytes: 50 };
    expect(planFor({ ...asked, vm })).toMatchObject({ vm: "/srv/web1", ramBytes: [100], diskBytes: [0, 50] });
    expect(planFor({ ...asked, vm: { ...vm, ramBytes: 0 } })).toMatchObject({
      ramBytes: [0],
      diskBytes: [50],
    });
    expect(planFor({ ...asked, vm: { ...vm, diskBytes: 0 } })).toMatchObject({
      ramBytes: [100],
      diskBytes: [0],
    });
    for (const more of [{ ram: [1] }, { disk: 1 }, { thesis: true }])
      expect(() => planFor({ ...asked, vm, ...more })).toThrow("A VM has its own sizes");
  });

  test("lists are put in order, and what is there twice counts once", () => {
    expect(sizes("2M,1M,2M")).toEqual([1024 ** 2, 2 * 1024 ** 2]);
    expect(suites("rc4,insecure,rc4")).toEqual(["insecure", "rc4"]);
    expect([sizeOrNone("0"), sizeOrNone("none"), sizeOrNone("4K")]).toEqual([0, 0, 4096]);
  });
});

describe("raw samples", () => {
  test("--replay tells and draws everything again, and changes nothing in them", async () => {
    const samples = syntheticSamples();
    const file = write("samples.json", samples);
    const out = join(world.folder, "out");
    expect(await profile("--replay", file, "--out", out)).toBe(0);
    const { stdout } = world.take();
    for (const text of ["Table 6.3 (a)", "Table 6.3 (b)", "Table 6.5", "The thesis's claims"])
      expect(stdout).toContain(text);
    const files = readdirSync(out);
    for (const name of ["samples.json", "samples.csv", "report.html", "figure-6-1.svg"])
      expect(files).toContain(name);
    expect(JSON.parse(readFileSync(join(out, "samples.json"), "utf8"))).toEqual(
      JSON.parse(JSON.stringify(samples)),
    );
    expect(readFileSync(join(out, "report.html"), "utf8")).toStartWith("<!doctype html>");
    expect(files.filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("--replay without --out only tells; --json gives the samples themselves", async () => {
    const samples = syntheticSamples();
    const file = write("samples.json", samples);
    expect(await profile("--replay", file, "--json")).toBe(0);
    const [event, ...others] = world.takeEvents();
    expect(others).toEqual([]);
    expect(event).toEqual({ event: "profile", ...JSON.parse(JSON.stringify(samples)) });
    // What --json printed can be replayed in its turn.
    expect(await profile("--replay", write("printed.json", event))).toBe(0);
  });

  test("--compare tells two apart", async () => {
    const a = write("a.json", syntheticSamples({ seed: 1 }));
    const b = write("b.json", syntheticSamples({ seed: 2 }));
    expect(await profile("--compare", a, b)).toBe(0);
    expect(world.take().stdout).toContain(`${b} against ${a}`);
    expect(await profile("--compare", a, b, "--json")).toBe(0);
    expect(world.takeEvents().at(-1)).toMatchObject({ event: "comparison" });
  });

  test("a folder that cannot be made is said so before anything is measured", async () => {
    const file = write("file", "x");
    mkdirSync(join(world.folder, "d"));
    expect(await profile("--out", join(file, "below"), "--ram", "1M")).toBe(6);
    expect(world.take().stderr).toMatch(/below cannot be written: (ENOTDIR|EEXIST).*\n.*--out/);
  });
});

describe("help", () => {
  test("says which suites are weak and why, and that send knows none of them", async () => {
    expect(await profile("--help")).toBe(0);
    const text = world.take().stdout.replaceAll(/\s+/g, " ");
    for (const word of ["RFC 7465", "Sweet32", "migrate send knows none of them"])
      expect(text).toContain(word);
  });

  test("shows nobody the command that is for the program's own processes", async () => {
    expect(await run("--help")).toBe(0);
    const { stdout } = world.take();
    expect(stdout).toContain("\n  profile ");
    expect(stdout).not.toContain("profile-side");
  });
});
