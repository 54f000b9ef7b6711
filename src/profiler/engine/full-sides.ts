/**
 * The product's own engine on the same input: real sends to real serves with throwaway homes and stores,
 * in two processes of this host. What happens inside is Workers' business, so that the CPU time is known
 * by process alone and stands under "rest".
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type CpuTime, cpuBetween } from "../../platform/usage.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { SideFigures, SuiteName } from "../statistics/samples.ts";
import { fullSuites } from "../statistics/suite.ts";
import { noOperations } from "./account/operation-meter.ts";
import { SideProcess } from "./side-process.ts";
import type { ProfiledFile, Sides } from "./sides.ts";
import type { RunFigures } from "./thesis-source.ts";

/** Starts both sides with everything they write in `folder`, ours and empty. Throws MigrateError. */
export async function openFullSides(options: { self: readonly string[]; folder: string }): Promise<Sides> {
  const sides = new FullSides(options.self, options.folder);
  try {
    await sides.open();
    return sides;
  } catch (thrown) {
    await sides.close();
    throw thrown;
  }
}

class FullSides implements Sides {
  readonly clockCostNs = 0;
  readonly link = "loopback";
  readonly #folder: string;
  readonly #source: SideProcess;
  readonly #destination: SideProcess;
  readonly #servings = new Map<boolean, { port: number; ticket?: string }>();
  #number = 0;

  constructor(self: readonly string[], folder: string) {
    this.#folder = folder;
    this.#source = new SideProcess(self, "source");
    this.#destination = new SideProcess(self, "destination");
  }

  async open(): Promise<void> {
    for (const insecure of [true, false]) {
      mkdirSync(this.#home("source", insecure), { mode: 0o700 });
      mkdirSync(this.#home("destination", insecure), { mode: 0o700 });
      const { port, ticket } = await this.#destination.ask({
        ask: "full-serve",
        options: { home: this.#home("destination", insecure), store: this.#store(insecure), insecure },
      });
      this.#servings.set(insecure, { port, ...(ticket === undefined ? {} : { ticket }) });
    }
  }

  async run(suite: SuiteName, files: readonly ProfiledFile[]): Promise<RunFigures> {
    if (!fullSuites.includes(suite)) throw new MigrateError("bug", `the product has no suite ${suite}`);
    const insecure = suite === "insecure";
    const name = `profile-${++this.#number}`;
    const ram = files.find(({ kind }) => kind === "ram")?.path;
    const disks = files.filter(({ kind }) => kind === "disk").map(({ path }) => path);
    const before = await this.#usage();
    const sent = await this.#source.ask({
      ask: "full-send",
      options: {
        home: this.#home("source", insecure),
        name,
        ...(ram === undefined ? {} : { ram }),
        disks,
        ...this.#servings.get(insecure)!,
        insecure,
      },
    });
    const after = await this.#usage();
    rmSync(join(this.#store(insecure), name), { recursive: true, force: true });
    const { setup } = sent;
    const linked = {
      userMs: before.source.userMs + setup.userMs,
      systemMs: before.source.systemMs + setup.systemMs,
    };
    return {
      wireBytes: sent.wireBytes,
      setup: {
        wallMs: setup.wallMs,
        sourceCpuMs: setup.userMs + setup.systemMs,
        // The destination cannot be asked in the middle: its set-up is part of its account.
        destinationCpuMs: 0,
      },
      source: figuresBetween(linked, after.source),
      destination: figuresBetween(before.destination, after.destination),
      totalMs: sent.totalMs,
    };
  }

  async close(): Promise<void> {
    await Promise.all([this.#source.kill(), this.#destination.kill()]);
  }

  async #usage(): Promise<{ source: CpuTime; destination: CpuTime }> {
    const [source, destination] = await Promise.all([
      this.#source.ask({ ask: "usage" }),
      this.#destination.ask({ ask: "usage" }),
    ]);
    return { source, destination };
  }

  #home(side: string, insecure: boolean): string {
    return join(this.#folder, `${side}-home-${insecure ? "insecure" : "secure"}`);
  }

  #store(insecure: boolean): string {
    return join(this.#folder, `store-${insecure ? "insecure" : "secure"}`);
  }
}

function figuresBetween(before: CpuTime, after: CpuTime): SideFigures {
  const { userMs, systemMs } = cpuBetween(before, after);
  const operationsMs = { ...noOperations(), rest: userMs + systemMs };
  return { userMs, systemMs, operationsMs, clockMs: 0, clockReads: 0 };
}
