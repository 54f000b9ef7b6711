/** `migrate profile` measuring for real, with tiny sizes: two processes, between two hosts, and cut short. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseSamples } from "../../../src/profiler/runs/parse-samples.ts";
import { namedOperations, shareOf } from "../../../src/profiler/statistics/cells.ts";
import type { Samples, SuiteName } from "../../../src/profiler/statistics/samples.ts";
import { operations, suiteNames } from "../../../src/profiler/statistics/samples.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { type MigrateProcess, runMigrate } from "../../support/system/process.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const MiB = 1024 ** 2;
let folder = "";
let temporary = "";
eachTestInFolder("migrate-profile-test-", (made) => {
  folder = made;
  temporary = join(folder, "tmp");
  mkdirSync(temporary);
});

/** A host with a home of its own. */
const migrate = (host: string, ...words: string[]): MigrateProcess =>
  runMigrate([...words, "--json"], { home: join(folder, host), env: { TMPDIR: temporary }, cwd: folder });
const profile = (...words: string[]) => migrate("source", "profile", ...words);

/** The samples of a profile that ended well, checked as a file would be; nothing of it is left behind. */
async function samplesOf(run: MigrateProcess): Promise<Samples> {
  const { code } = await run.exit;
  expect({ code, stderr: run.stderr(), stray: run.strayLines }).toEqual({ code: 0, stderr: "", stray: [] });
  expect(readdirSync(temporary)).toEqual([]);
  return parseSamples(JSON.stringify(await run.waitFor("profile")), "standard output");
}

/** Nothing is missing, and nothing is made up. */
function checkSamples(samples: Samples, suites: readonly SuiteName[], perSuite: number): void {
  for (const suite of suites)
    expect(samples.samples.filter((sample) => sample.suite === suite).length).toBe(perSuite);
  expect(samples.samples.length).toBe(suites.length * perSuite);
  for (const sample of samples.samples) {
    const { ramBytes, diskBytes, wireBytes, setup, totalMs } = sample;
    expect(wireBytes).toBeGreaterThanOrEqual(ramBytes + diskBytes);
    expect(totalMs).toBeGreaterThan(setup.wallMs);
    expect(Math.min(setup.wallMs, setup.sourceCpuMs, setup.destinationCpuMs)).toBeGreaterThan(0);
    for (const side of [sample.source, sample.destination]) {
      // The operations and the clock add up to what getrusage(2) says of the process.
      const added = operations.reduce((sum, operation) => sum + side.operationsMs[operation], side.clockMs);
      expect(added).toBeCloseTo(side.userMs + side.systemMs, 0);
    }
  }
}

test("a profile through two processes: samples that fit the schema, operations that add up, in two orders the same", async () => {
  const words = [
    "--ram",
    "4M,8M",
    "--disk",
    "2M",
    "--suites",
    suiteNames.join(),
    "--runs",
    "1",
    "--seed",
    "11",
  ];
  const samples = await samplesOf(profile(...words));
  checkSamples(samples, suiteNames, 4);
  expect(samples).toMatchObject({
    partial: false,
    seed: 11,
    zeroBytesSent: true,
    environment: { link: "loopback" },
  });
  expect(samples.environment.clockCostNs).toBeGreaterThan(20);
  for (const { suite, source, destination, suspendMs, resumeMs } of samples.samples) {
    expect([suspendMs, resumeMs]).toEqual([0, 0]);
    if (suite === "insecure") expect(source.operationsMs.encrypt + destination.operationsMs.decrypt).toBe(0);
    if (suite === "3des")
      expect(source.operationsMs.encrypt).toBeGreaterThan(source.operationsMs["socket-write"]);
  }
  // Two accounts: what one side computes is not on the other's.
  const portable = samples.samples.filter(({ suite }) => suite === "chacha20-poly1305");
  for (const { source, destination } of portable) {
    expect(source.operationsMs.decrypt + source.operationsMs["file-write"]).toBe(0);
    expect(destination.operationsMs.encrypt + destination.operationsMs["file-read"]).toBe(0);
    expect(shareOf(source, namedOperations)).toBeGreaterThan(0.5);
  }
  const orderOf = ({ samples: all }: Samples) =>
    all.map(({ suite, ramBytes, diskBytes }) => `${suite} ${ramBytes} ${diskBytes}`);
  expect(orderOf(await samplesOf(profile(...words)))).toEqual(orderOf(samples));
}, 60_000);

test("a VM's own files are measured, its disk apart", async () => {
  const vm = makeSmallVm(join(folder, "web1"));
  const samples = await samplesOf(profile(vm.folder, "--suites", "insecure,aes-128-gcm", "--runs", "1"));
  const [ram, disk] = vm.files;
  checkSamples(samples, ["insecure", "aes-128-gcm"], 2);
  expect(new Set(samples.samples.map(({ ramBytes }) => ramBytes))).toEqual(new Set([ram!.bytes]));
  expect(new Set(samples.samples.map(({ diskBytes }) => diskBytes))).toEqual(new Set([0, disk!.bytes]));
  expect(samples.plan?.vm).toBe(vm.folder);
}, 60_000);

test("--engine full measures the product's own engine on the same input, without the zeros", async () => {
  const samples = await samplesOf(profile("--engine", "full", "--ram", "8M", "--disk", "4M", "--runs", "1"));
  expect(samples.zeroBytesSent).toBe(false);
  expect(samples.samples.map(({ suite, engine }) => `${suite} ${engine}`).sort()).toEqual([
    "insecure full",
    "insecure full",
    "tls full",
    "tls full",
  ]);
  for (const { ramBytes, diskBytes, wireBytes, source, destination } of samples.samples) {
    expect(wireBytes).toBeLessThan(0.7 * (ramBytes + diskBytes));
    expect(wireBytes).toBeGreaterThan(0.5 * (ramBytes + diskBytes));
    for (const side of [source, destination])
      expect(side.operationsMs.rest).toBeCloseTo(side.userMs + side.systemMs, 3);
  }
}, 60_000);

test("files are written where they were asked for, and are the same samples", async () => {
  const out = join(folder, "out");
  const samples = await samplesOf(
    profile("--ram", "4M", "--disk", "0", "--suites", "insecure,tls", "--runs", "2", "--out", out),
  );
  expect(parseSamples(readFileSync(join(out, "samples.json"), "utf8"), "samples.json")).toEqual(samples);
  expect(readdirSync(out)).toContain("report.html");
}, 60_000);

describe("cut short", () => {
  test("by a person: what was measured is kept, with how to go on, and going on ends it", async () => {
    const out = join(folder, "out");
    const words = ["--ram", "4M,16M", "--disk", "0", "--suites", "insecure,3des", "--runs", "3"];
    const run = profile(...words, "--out", out);
    await run.waitFor("profile-run", { where: ({ doneRuns }) => (doneRuns as number) >= 3 });
    run.signal("SIGINT");
    expect((await run.exit).code).toBe(130);
    const file = join(out, "samples.json");
    const error = run.events.at(-1);
    expect(error).toMatchObject({
      event: "error",
      code: "interrupted",
      hint: expect.stringContaining(`migrate profile --resume ${file}`),
    });
    const cut = parseSamples(readFileSync(file, "utf8"), "samples.json");
    expect(cut.partial).toBe(true);
    expect(cut.samples.length).toBeWithin(3, 12);
    expect(readdirSync(temporary)).toEqual([]);
    const whole = await samplesOf(profile("--resume", file));
    expect(whole).toMatchObject({ partial: false, seed: cut.seed, startedAt: cut.startedAt });
    expect(whole.samples.slice(0, cut.samples.length).map(({ totalMs }) => totalMs)).toEqual(
      cut.samples.map(({ totalMs }) => totalMs),
    );
    checkSamples(whole, ["insecure", "3des"], 6);
  }, 60_000);

  test("by a destination that goes away in the middle: a clear sentence, exit code 4, what was measured is kept", async () => {
    const { serve, address, ticket } = await serving();
    const out = join(folder, "out");
    const words =
      `--to ${address} --ticket ${ticket} --ram 16M --disk 0 --suites insecure,3des --runs 9`.split(" ");
    const run = profile(...words, "--out", out);
    await run.waitFor("profile-run", { where: ({ doneRuns }) => (doneRuns as number) >= 2 });
    await serve.kill();
    expect((await run.exit).code).toBe(4);
    const error = run.events.at(-1) as unknown as { message: string; hint: string };
    expect(error).toMatchObject({ event: "error", code: "network" });
    expect(error.message).toMatch(/destination/);
    expect(error.hint).toContain(`--resume ${join(out, "samples.json")} --to ${address}`);
    const cut = parseSamples(readFileSync(join(out, "samples.json"), "utf8"), "samples.json");
    expect(cut.samples.length).toBeGreaterThanOrEqual(2);
    expect(cut).toMatchObject({ partial: true, environment: { link: address } });
  }, 60_000);
});

describe("between two hosts", () => {
  test("measures with a ticket, then without, and the destination keeps nothing", async () => {
    const { serve, address, ticket } = await serving();
    const suites: SuiteName[] = ["insecure", "tls", "aes-128", "rc4"];
    const words = ["--to", address, "--ram", "4M", "--disk", "2M", "--suites", suites.join(), "--runs", "1"];
    const samples = await samplesOf(profile(...words, "--ticket", ticket));
    checkSamples(samples, suites, 2);
    expect(samples.environment.link).toBe(address);
    // Discarded: no file is written anywhere.
    expect(samples.samples.every(({ destination }) => destination.operationsMs["file-write"] === 0)).toBe(
      true,
    );
    expect(readdirSync(join(folder, "store")).filter((name) => !name.startsWith("."))).toEqual([]);
    await samplesOf(profile(...words));
    serve.signal("SIGTERM");
    expect((await serve.exit).code).toBe(0);
  }, 60_000);

  test("of a VM's own files nothing crosses, and they are read all the same", async () => {
    const { address, ticket } = await serving();
    const secret = join(folder, "secret");
    mkdirSync(secret);
    writeFileSync(join(secret, "s.ram"), Buffer.alloc(2 * MiB, "the guest's secret "));
    writeFileSync(
      join(secret, "vm.json"),
      JSON.stringify({ format: "migrate-vm/1", name: "s", files: [{ kind: "ram", file: "s.ram" }] }),
    );
    const samples = await samplesOf(
      profile(secret, "--to", address, "--ticket", ticket, "--suites", "insecure", "--runs", "1"),
    );
    expect(samples.samples[0]!.source.operationsMs["file-read"]).toBeGreaterThan(0);
    expect(samples.samples[0]!.wireBytes).toBeGreaterThanOrEqual(2 * MiB);
  }, 60_000);

  test("a destination that is not to be measured against says so", async () => {
    const { address, ticket } = await serving("--profile-port", "off");
    const run = profile("--to", address, "--ticket", ticket, "--ram", "4M");
    expect((await run.exit).code).toBe(6);
    expect(run.events.at(-1)).toMatchObject({
      code: "policy",
      message: "the destination does not let itself be measured against",
    });
  }, 60_000);

  test("one at a time", async () => {
    const { address, ticket } = await serving();
    const first = profile(
      ...`--to ${address} --ticket ${ticket} --ram 16M --suites 3des --runs 50`.split(" "),
    );
    await first.waitFor("profile-run");
    const second = profile("--to", address, "--ram", "4M");
    expect((await second.exit).code).toBe(6);
    expect(second.events.at(-1)).toMatchObject({ code: "busy" });
    first.signal("SIGINT");
    expect((await first.exit).code).toBe(130);
  }, 60_000);

  test("a host that is not known is not measured against", async () => {
    const { address } = await serving();
    const run = profile("--to", address, "--ram", "4M");
    expect((await run.exit).code).toBe(3);
    expect(run.events.at(-1)).toMatchObject({ code: "not-trusted" });
  }, 60_000);

  test("nobody there is said in a sentence, with exit code 4", async () => {
    const { serve, address, ticket } = await serving();
    await serve.kill();
    const run = profile("--to", address, "--ticket", ticket, "--ram", "4M");
    expect((await run.exit).code).toBe(4);
    expect(run.events.at(-1)).toMatchObject({
      code: "network",
      message: `cannot connect to ${address}: nothing listens there`,
    });
  }, 60_000);
});

async function serving(...more: string[]) {
  const serve = migrate(
    "destination",
    "serve",
    "--listen",
    "127.0.0.1:0",
    "--store",
    join(folder, "store"),
    ...more,
  );
  const { address, ticket = "" } = await serve.waitFor("listening");
  return { serve, address, ticket };
}
