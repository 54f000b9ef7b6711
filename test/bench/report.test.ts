/** What the benchmark makes of its samples: tables, and aims that are met or missed. */
import { expect, test } from "bun:test";
import { aimList } from "./aims.ts";
import { contenders } from "./contenders.ts";
import { imageOnBase, input, ram } from "./inputs/sample-inputs.ts";
import { inputTable } from "./report.ts";
import type { Sample } from "./sample.ts";

const mib = 2 ** 20;
const loopback = { name: "loopback", title: "over loopback" } as const;
const cost = { cpuMs: 500, peakBytes: 64 * mib };

function sampleOf(contender: string, seconds: number, more: Partial<Sample> = {}): Sample {
  return {
    round: 1,
    input: "random",
    link: "loopback",
    contender,
    bytes: 2 ** 30,
    seconds,
    source: cost,
    destination: contender === "cp" ? undefined : cost,
    indexing: undefined,
    wireBytes: 1030 * mib,
    reportedWireBytes: contender === "ours" ? 1025 * mib : undefined,
    ...more,
  };
}

test("the table has a row for each contender that ran on that link, and its time as a multiple of ours", () => {
  const samples = [
    ...[1, 2, 9].map((seconds) => sampleOf("ours", seconds)),
    ...[5, 4, 3].map((seconds) => sampleOf("ssh", seconds)),
    sampleOf("cp", 0.5),
    sampleOf("ssh", 99, { link: "gigabit" }),
    sampleOf("socat", 99, { link: "gigabit" }),
    sampleOf("ours", 99, { input: "ram" }),
  ];
  const lines = inputTable(input, loopback, contenders, samples).split("\n");
  expect(lines[0]).toBe("**random, loopback**: random bytes; 1024 MiB, over loopback");
  expect(lines.slice(4)).toEqual([
    "| cp (the limit) | 0.50 (0.50–0.50) | 2048 | 0.25 | 0.50 | – | – | 64.0 | – |",
    "| migrate | 2.00 (1.00–9.00) | 512 | 1.00 | 0.50 | 0.50 | 1030 | 64.0 | 64.0 |",
    "| cat over ssh (aes128-gcm) | 4.00 (3.00–5.00) | 256 | 2.00 | 0.50 | 0.50 | 1030 | 64.0 | 64.0 |",
  ]);
});

test("one run of ours that takes too much memory stands out, one of a peer does not", () => {
  const large = { destination: { cpuMs: 500, peakBytes: 300 * mib } };
  const samples = [
    sampleOf("ours", 1),
    sampleOf("ours", 1),
    sampleOf("ours", 1, large),
    sampleOf("ssh", 1, large),
  ];
  const [ours, ssh] = inputTable(input, loopback, contenders, samples).split("\n").slice(4);
  expect(ours).toEndWith("| 64.0 | **300 (over 256)** |");
  expect(ssh).toEndWith("| 64.0 | 300 |");
});

test("what the destination has is in the heading, and what indexing it took is told beside the table", () => {
  const indexing = { seconds: 4, cpuMs: 2500 };
  const samples = [sampleOf("ours", 1, { input: imageOnBase.name, indexing })];
  const text = inputTable(imageOnBase, loopback, contenders, samples);
  expect(text).toContain("; the destination has its base\n");
  expect(text).toEndWith("migrate serve indexed what it has in 4.00 s with 2.50 s of CPU.");
});

test("an aim is met, missed, or left out where it was not measured", () => {
  const at = (inputName: string, link: Sample["link"], seconds: Record<string, number>) =>
    Object.entries(seconds).map(([name, s]) => sampleOf(name, s, { input: inputName, link }));
  const samples = [
    ...at("random", "loopback", { ours: 2, "ours-insecure": 1, ssh: 3, rsync: 4 }),
    ...at("random", "gigabit", { ours: 1.01, "plain-tcp": 1 }),
    ...at("ram", "gigabit", { ours: 2, ssh: 9, "zstd-ssh": 5, cp: 0.1 }),
    ...at("debian-raw-base", "gigabit", { ours: 1, "ours-base": 0.5, "rsync-inplace": 8 }),
  ];
  expect(aimList([input, ram, imageOnBase], contenders, samples).split("\n")).toEqual([
    "- ram, gigabit: best peer (zstd-ssh) / ours, time: 2.50 (aim: at least 2, met)",
    "- debian-raw-base, gigabit: best peer (rsync-inplace) / ours, time: 8.00 (aim: at least 10, **missed**)",
    "- debian-raw-base, gigabit: best peer (rsync-inplace) / ours-base, time: 16.00 (aim: at least 10, met)",
    "- random, loopback: ours / ours-insecure, time: 2.00 (aim: at most 1.3, **missed**)",
    "- random, gigabit: ours / plain-tcp, time: 1.01 (aim: at most 1.02, met)",
    "- random, loopback: ssh / ours, time: 1.50 (aim: at least 1.5, met)",
    "- random, loopback: rsync / ours, time: 2.00 (aim: at least 2.3, **missed**)",
    "- random, loopback: ours / ours-insecure, CPU of both sides: 1.00 (aim: at most 1.5, met)",
    "- greatest memory of a process of ours: 64 MiB (ours on random, loopback) (aim: under 256 MiB, met)",
  ]);
  expect(aimList([input], contenders, [sampleOf("ssh", 1)])).toBe("");
});
