/** Measured transfers over real sockets: whole, tampered with, cut, and asked for by the wrong one. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connectMeasured } from "../../../src/profiler/engine/records/measured-socket.ts";
import { newSecret, ThesisDestination } from "../../../src/profiler/engine/thesis-destination.ts";
import {
  type MeasuringAddress,
  type SourceRun,
  ThesisSource,
} from "../../../src/profiler/engine/thesis-source.ts";
import { operations, type SuiteName, suiteNames } from "../../../src/profiler/statistics/samples.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { randomStream } from "../../support/files/small-vm.ts";
import { LaneTamperer, type Tamper, type Units } from "../../support/hostile/lane-tamperer.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

const MiB = 1024 ** 2;
let folder = "";
let received = "";
let files: SourceRun["files"] = [];
let source: ThesisSource;
const opened: { close(): void }[] = [];

eachTestInFolder("migrate-transfer-", async (made) => {
  folder = made;
  received = mkdtempSync(join(folder, "received-"));
  const random = randomStream(3);
  const contents = [Buffer.concat([random(MiB), Buffer.alloc(MiB), random(54_321)]), random(777_777)];
  files = contents.map((bytes, i) => {
    const path = join(folder, `file-${i}`);
    writeFileSync(path, bytes);
    return { path, bytes: bytes.length };
  });
  source = await ThesisSource.make();
  return () => {
    for (const one of opened.splice(0)) one.close();
  };
});

async function destinationFor(options: Partial<Parameters<typeof ThesisDestination.open>[0]> = {}) {
  const secret = newSecret();
  const destination = await ThesisDestination.open({
    host: "127.0.0.1",
    port: 0,
    source: source.fingerprint,
    secret,
    folder: received,
    keep: true,
    mostBytes: 100 * MiB,
    stallMs: 300,
    ...options,
  });
  opened.push(destination);
  const { port, plainPort, fingerprint } = destination;
  const address: MeasuringAddress = { host: "127.0.0.1", port, plainPort, destination: fingerprint, secret };
  return { destination, address };
}

const runOf = (suite: SuiteName, number = 1): SourceRun => ({ number, suite, files, hide: false });
const wholeBytes = () => files.reduce((sum, { bytes }) => sum + bytes, 0);
/** What was received is what was sent, byte for byte. */
function expectReceived(): void {
  for (const [i, { path }] of files.entries())
    expect(readFileSync(join(received, `received-${i}`)).equals(readFileSync(path))).toBe(true);
}

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => "no error",
    (thrown) => (thrown instanceof MigrateError ? thrown.code : String(thrown)),
  );

describe.each(suiteNames)("%s", (suite) => {
  test("moves a VM whose bytes are equal at the other end, with figures that add up", async () => {
    const { address } = await destinationFor();
    for (const number of [1, 2]) {
      const figures = await source.run(address, runOf(suite, number));
      expectReceived();
      expect(figures.wireBytes).toBeGreaterThanOrEqual(wholeBytes());
      expect(figures.wireBytes).toBeLessThan(wholeBytes() * 1.01);
      expect(figures.totalMs).toBeGreaterThan(figures.setup.wallMs);
      for (const side of [figures.source, figures.destination]) {
        const named = operations.reduce((sum, operation) => sum + side.operationsMs[operation], side.clockMs);
        expect(named).toBeCloseTo(side.userMs + side.systemMs, 0);
      }
      const { source: sent, destination: taken } = figures;
      for (const operation of ["file-read", "socket-write", "mac"] as const)
        expect(sent.operationsMs[operation]).toBeGreaterThan(0);
      for (const operation of ["file-write", "socket-read", "verify"] as const)
        expect(taken.operationsMs[operation]).toBeGreaterThan(0);
      const encrypts = suite !== "insecure" && suite !== "tls";
      expect(sent.operationsMs.encrypt > 0).toBe(encrypts);
      expect(taken.operationsMs.decrypt > 0).toBe(encrypts);
    }
  });

  const units: Units = suite === "tls" ? "tls" : suite === "insecure" ? "blocks" : "records";
  // Far enough into the lane to be behind every handshake.
  const victim = suite === "tls" ? 20 : 3;
  let held: Buffer | undefined;
  const tampers: [string, Tamper][] = [
    ["a flipped bit", (unit, index) => (index === victim ? [flipped(unit)] : [unit])],
    ["a dropped record", (unit, index) => (index === victim ? [] : [unit])],
    ["a repeated record", (unit, index) => (index === victim ? [unit, unit] : [unit])],
    [
      "records in another order",
      (unit, index) => {
        if (index === victim) held = unit;
        return index === victim ? [] : index === victim + 1 ? [unit, held!] : [unit];
      },
    ],
  ];
  test.each(tampers)("%s is caught, and the next run is whole", async (_, tamper) => {
    const { address } = await destinationFor();
    const tamperer = new LaneTamperer({
      port: suite === "tls" ? address.port : address.plainPort,
      units,
      // With TLS all over the second connection is the lane; else it says so itself.
      isLane: (connection, firstByte) => (suite === "tls" ? connection === 1 : firstByte === 0x4c),
      tamper,
    });
    opened.push(tamperer);
    const through = suite === "tls" ? { port: tamperer.port } : { plainPort: tamperer.port };
    const failed = await failureOf(source.run({ ...address, ...through }, runOf(suite)));
    // TLS ends the connection by itself at a record that is not what it must be.
    expect(failed).toBe(suite === "tls" ? "network" : "integrity");
    await source.run(address, runOf(suite, 2));
    expectReceived();
  });
});

function flipped(unit: Buffer): Buffer {
  const damaged = Buffer.from(unit);
  damaged[damaged.length >> 1]! ^= 1;
  return damaged;
}

describe("what must not leave this host", () => {
  test("is read, and made-up bytes travel in its place", async () => {
    const { address } = await destinationFor();
    const figures = await source.run(address, { ...runOf("insecure"), hide: true });
    const [first] = files;
    const came = readFileSync(join(received, "received-0"));
    expect(came.length).toBe(first!.bytes);
    const original = readFileSync(first!.path);
    for (let at = 0; at + 4096 <= MiB; at += 4096)
      expect(came.includes(original.subarray(at, at + 32))).toBe(false);
    expect(figures.source.operationsMs["file-read"]).toBeGreaterThan(0);
  });
});

describe("the destination refuses", () => {
  test("a run whose number has been used, and one that is not proven", async () => {
    const { address } = await destinationFor();
    await source.run(address, runOf("insecure", 5));
    expect(await failureOf(source.run(address, runOf("insecure", 5)))).toBe("policy");
    expect(await failureOf(source.run({ ...address, secret: newSecret() }, runOf("insecure", 6)))).toBe(
      "policy",
    );
    await source.run(address, runOf("insecure", 6));
  });

  test("more bytes than were announced", async () => {
    const { address } = await destinationFor({ mostBytes: wholeBytes() - 1 });
    expect(await failureOf(source.run(address, runOf("tls")))).toBe("limit");
  });

  test("a source with another certificate, before it has said a word", async () => {
    const { address } = await destinationFor();
    const stranger = await ThesisSource.make();
    expect(await failureOf(stranger.run(address, runOf("tls")))).toBe("network");
  });

  test("a secure suite at the door without TLS, and a plain one at the other", async () => {
    const { address } = await destinationFor();
    const { port, plainPort } = address;
    // The wrong door of the two: the source itself notices that there is no TLS, or the destination turns it away.
    expect(await failureOf(source.run({ ...address, port: plainPort }, runOf("aes-128")))).toBeOneOf([
      "network",
      "insecure-mismatch",
    ]);
    expect(await failureOf(source.run({ ...address, plainPort: port }, runOf("insecure", 2)))).toBeOneOf([
      "network",
      "insecure-mismatch",
    ]);
  });

  test("a lane that does not know its token", async () => {
    const { address } = await destinationFor();
    const socket = await connectMeasured({ host: "127.0.0.1", port: address.plainPort, secure: null });
    const gone = new Promise<void>((closed) => {
      socket.handler = { data: () => {}, closed: () => closed() };
    });
    socket.write(Buffer.concat([Buffer.of(0x4c), Buffer.alloc(16)]));
    await gone;
  });
});

describe("trouble", () => {
  test("a source pins its destination", async () => {
    const { address } = await destinationFor();
    const wrong = { ...address, destination: `sha256:${"0".repeat(64)}` };
    expect(await failureOf(source.run(wrong, runOf("tls")))).toBe("wrong-identity");
  });

  test("a destination that goes away in the middle is said to have gone", async () => {
    const { address } = await destinationFor();
    let lanes = 0;
    const tamperer: LaneTamperer = new LaneTamperer({
      port: address.plainPort,
      units: "records",
      isLane: (_, firstByte) => firstByte === 0x4c,
      tamper: (unit, index) => {
        if (index === 2 && lanes++ === 0) tamperer.close();
        return [unit];
      },
    });
    opened.push(tamperer);
    const run = source.run({ ...address, plainPort: tamperer.port }, runOf("aes-128"));
    await expect(run).rejects.toMatchObject({ code: "network", exitCode: 4 });
  });

  test("nobody there is a sentence about the network", async () => {
    const { destination, address } = await destinationFor();
    destination.close();
    await expect(source.run(address, runOf("tls"))).rejects.toThrow(
      /cannot connect to 127\.0\.0\.1:\d+, where the destination measures/,
    );
  });

  test("a file that became shorter ends the run", async () => {
    const { address } = await destinationFor();
    const [first, ...rest] = files;
    files = [{ ...first!, bytes: first!.bytes + 1 }, ...rest];
    expect(await failureOf(source.run(address, runOf("insecure")))).toBe("source-changed");
  });
});
