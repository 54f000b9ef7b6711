/** The benchmark's arithmetic; its runs are for `bun run bench`. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseManifest } from "../../src/vm/folder/manifest.ts";
import { startChild } from "../support/system/child.ts";
import type { Contender } from "./contender.ts";
import { contenders } from "./contenders.ts";
import { image, imageOnBase, input, ram } from "./inputs/sample-inputs.ts";
import type { Input } from "./inputs.ts";
import { type Link, openLinks } from "./link.ts";
import { readOptions } from "./options.ts";
import { descendants, MemoryWatch } from "./processes.ts";
import { takeSample } from "./sample.ts";
import { median, seededRandom, shuffled, straightLine } from "./statistics.ts";
import { settleBefore } from "./store-before.ts";

test("the median is the middle value, or the mean of the middle two, whatever the order", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([10, 1, 2, 4])).toBe(3);
  expect(median([7])).toBe(7);
  expect(() => median([])).toThrow("the median of nothing");
});

test("the order of the runs is another each round, holds each run once, and comes back with the seed", () => {
  const things = Array.from({ length: 18 }, (_, index) => index);
  const random = seededRandom(42);
  const [first, second] = [shuffled(things, random), shuffled(things, random)];
  expect([...first].sort((a, b) => a - b)).toEqual(things);
  expect(first).not.toEqual(things);
  expect(second).not.toEqual(first);
  expect(shuffled(things, seededRandom(42))).toEqual(first);
  expect(shuffled(things, seededRandom(43))).not.toEqual(first);
});

test("a line through points that lie on one is found, and what does not fit takes from its certainty", () => {
  const exact = straightLine([1, 2, 4, 8].map((x) => [x, 3 * x + 5] as const));
  expect(exact.slope).toBeCloseTo(3);
  expect(exact.intercept).toBeCloseTo(5);
  expect(exact.rSquared).toBeCloseTo(1);
  // Worked out by hand: means 2 and 4, sums of squares 2, 6 and 24.
  const loose = straightLine([
    [1, 0],
    [2, 6],
    [3, 6],
  ]);
  expect([loose.slope, loose.intercept]).toEqual([3, -2]);
  expect(loose.rSquared).toBeCloseTo(0.75);
  expect(
    straightLine([
      [1, 7],
      [2, 7],
    ]).rSquared,
  ).toBe(1);
  expect(() =>
    straightLine([
      [1, 7],
      [1, 9],
    ]),
  ).toThrow("a line needs two places");
});

test("each contender has rows where they mean something", () => {
  const names = (of: Input): string[] => contenders.filter((c) => c.suits(of)).map(({ name }) => name);
  const everywhere = ["cp", "ours", "ours-off", "ssh", "zstd-ssh", "rsync", "socat"];
  const beside = (of: Input): string[] => names(of).filter((name) => !everywhere.includes(name));
  for (const of of [input, ram, image, imageOnBase])
    expect(names(of)).toEqual(expect.arrayContaining(everywhere));
  expect(beside(input)).toEqual(["plain-tcp", "ours-insecure"]);
  expect(beside(ram)).toEqual(["ours-insecure", "rsync-z"]);
  expect(beside(image)).toEqual(["ours-insecure", "rsync-z", "rsync-sparse"]);
  expect(beside(imageOnBase)).toEqual(["ours-base", "rsync-z", "rsync-sparse", "rsync-inplace"]);
});

test("a wrong option is named", () => {
  expect(() => readOptions(["--rounds", "0"])).toThrow("--rounds takes a whole number from 1 to 1000, not 0");
  expect(() => readOptions(["--inputs", "ram,floppy"])).toThrow(
    /^--inputs knows random, ram, .*, not floppy$/,
  );
  expect(() => readOptions(["--link", "loopback,wifi"])).toThrow("--link knows loopback, gigabit, not wifi");
  expect(() => readOptions(["--fast"])).toThrow("--fast");
  expect(readOptions(["--seed", "7", "--size", "64"])).toMatchObject({ seed: 7, sizeMiB: 64, rounds: 5 });
  expect(readOptions([]).links).toEqual(["loopback"]);
  expect(readOptions(["--link", "gigabit,loopback,gigabit"]).links).toEqual(["gigabit", "loopback"]);
});

test("the memory of a process that was started by another one counts, and its own peak does not start from ours", async () => {
  const ballast = Buffer.alloc(96 * 2 ** 20, 1);
  const child = Bun.spawn(["sh", "-c", "sleep 100 & echo up; wait"], { stdout: "pipe" });
  try {
    for await (const _ of child.stdout) break;
    expect(descendants(child.pid)).toHaveLength(1);
    const peakBytes = new MemoryWatch(child.pid).stop();
    expect(peakBytes).toBeGreaterThan(2 ** 20);
    expect(peakBytes).toBeLessThan(ballast.length / 2);
  } finally {
    for (const pid of [...descendants(child.pid), child.pid]) process.kill(pid, "SIGKILL");
    await child.exited;
  }
});

describe("a run", () => {
  let folder: string;
  let link: Link;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "migrate-bench-test-"));
    [link] = (await openLinks(["loopback"], () => {})) as [Link];
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function small(): Input {
    const path = join(folder, "small.raw");
    writeFileSync(path, crypto.getRandomValues(new Uint8Array(65_536)));
    return { ...input, path, bytes: 65_536 };
  }

  /** A contender that does as it is told, in the shell: $0 is the input, $1 where it must go. */
  function inShell(script: string): Contender {
    return {
      ...contenders[0]!,
      async prepare({ path }, runFolder) {
        const arrivedPath = join(runFolder, "arrived");
        const start = () => startChild(["sh", "-c", script, path, arrivedPath]);
        return { arrivedPath, start, arrived: async () => {}, finish: async () => {} };
      },
    };
  }

  test("is measured, and its folder is gone afterwards", async () => {
    const sample = await takeSample(contenders[0]!, small(), link, 3, folder);
    expect(sample).toMatchObject({
      round: 3,
      input: "random",
      link: "loopback",
      contender: "cp",
      bytes: 65_536,
    });
    expect(sample.seconds).toBeGreaterThan(0);
    expect(sample.destination).toBeUndefined();
    expect(existsSync(join(folder, "run"))).toBe(false);
  });

  test("that delivers other bytes fails and is named, and so does one that gives up; both are cleaned up after", async () => {
    const other = inShell(
      'cp "$0" "$1"; printf 0123456789abcdef | dd of="$1" bs=1 seek=9000 conv=notrunc status=none',
    );
    const failed = takeSample(other, small(), link, 1, folder);
    expect(failed).rejects.toThrow(/^cp on random over loopback: cmp .*small.raw .*arrived ended with 1/);
    await failed.catch(() => {});
    expect(existsSync(join(folder, "run"))).toBe(false);
    const givenUp = takeSample(inShell("echo no >&2; exit 3"), small(), link, 1, folder);
    expect(givenUp).rejects.toThrow("cp on random over loopback: the source ended with 3: no");
    await givenUp.catch(() => {});
    expect(existsSync(join(folder, "run"))).toBe(false);
  });

  test("finds in the store what is there before: another VM, or the earlier life of the same one", async () => {
    const old = join(folder, "old.raw");
    writeFileSync(old, "what was there");
    const store = join(folder, "store");
    mkdirSync(store);
    const settled = async (kind: "base" | "same") =>
      await settleBefore({ ...image, before: { path: old, kind, title: "" } }, store, "bench");
    expect(await settleBefore(image, store, "bench")).toEqual([]);
    expect([await settled("base"), await settled("same")]).toEqual([["--base", "base"], []]);
    for (const [name, vm] of [
      ["base", "base"],
      ["bench.migrated", "bench"],
    ] as const) {
      expect(readFileSync(join(store, name, "old.raw"), "utf8")).toBe("what was there");
      const manifest = parseManifest(readFileSync(join(store, name, "vm.json"), "utf8"), "vm.json");
      expect(manifest).toMatchObject({ name: vm, files: [{ kind: "disk", file: "old.raw", bytes: 14 }] });
    }
  });
});
