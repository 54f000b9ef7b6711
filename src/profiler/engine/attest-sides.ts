/**
 * What `migrate profile --attest` measures on this host: real moves over TLS between two processes, of which the
 * destination's has a TPM, with proofs and without; and the proofs alone.
 */
import { constants, copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { processListeningAt } from "../../platform/peer-process.ts";
import { processCpuMs } from "../../platform/process-cpu.ts";
import { type CpuTime, cpuBetween } from "../../platform/usage.ts";
import type { MoveSample, ProofSample } from "../statistics/attest-samples.ts";
import type { FullServing } from "./full-engine.ts";
import { SideProcess } from "./side-process.ts";

export interface AttestSidesOptions {
  self: readonly string[];
  /** Where everything is written; ours and empty. */
  folder: string;
  /** RAM of the VM that is moved: a file, of which each move gets a copy. */
  ram: string;
  /** What names the TPM to the destination (MIGRATE_TPM and what belongs to it). */
  env: Record<string, string>;
  /** Where a TPM in software listens, so that its own CPU time can be told. */
  tpmSocket?: string;
}

/** Starts both sides, and has the source record what the destination runs. Throws MigrateError. */
export async function openAttestSides(options: AttestSidesOptions): Promise<AttestSides> {
  const sides = new AttestSides(options);
  try {
    await sides.open();
    return sides;
  } catch (thrown) {
    await sides.close();
    throw thrown;
  }
}

export class AttestSides {
  readonly #options: AttestSidesOptions;
  readonly #source: SideProcess;
  readonly #destination: SideProcess;
  readonly #tpm: number | undefined;
  #serving: FullServing | undefined;
  #number = 0;

  constructor(options: AttestSidesOptions) {
    this.#options = options;
    const { self, tpmSocket } = options;
    this.#tpm = tpmSocket === undefined ? undefined : processListeningAt(tpmSocket)?.pid;
    this.#source = new SideProcess(self, "source");
    this.#destination = new SideProcess(self, "destination");
  }

  async open(): Promise<void> {
    for (const side of ["source", "destination"]) mkdirSync(this.#at(side), { mode: 0o700 });
    const { port, ticket } = await this.#destination.ask({
      ask: "full-serve",
      options: {
        ...{ home: this.#at("destination"), store: this.#at("store"), insecure: false },
        attesting: this.#options.env,
      },
    });
    this.#serving = { port };
    const pairing = ticket === undefined ? {} : { ticket };
    await this.#source.ask({ ask: "full-record", peer: { ...this.#peer, ...pairing } });
  }

  /** Moves the VM once. Throws the MigrateError that ended it; then the sides are of no use any more. */
  async move(attested: boolean): Promise<MoveSample> {
    const name = `attest-${++this.#number}`;
    const folder = this.#at(name);
    mkdirSync(folder, { mode: 0o700 });
    const ram = join(folder, "guest.ram");
    copyFileSync(this.#options.ram, ram, constants.COPYFILE_FICLONE);
    const before = await this.#usage(true);
    const { totalMs, proofs } = await this.#source.ask({
      ask: "full-send",
      options: { ...this.#peer, name, ram, disks: [], insecure: false, move: true, attests: attested },
    });
    const cost = costBetween(before, await this.#usage(true));
    for (const left of [folder, join(this.#at("store"), name)])
      rmSync(left, { recursive: true, force: true });
    return { attested, totalMs, ...cost, proofs };
  }

  /** Has the destination prove what it runs, as often as a move does. Throws as `move`. */
  async prove(): Promise<ProofSample> {
    const before = await this.#usage(true);
    const { proofs } = await this.#source.ask({ ask: "full-prove", peer: this.#peer });
    return { proofs, ...costBetween(before, await this.#usage(false)) };
  }

  /** Ends the processes. Harmless when it was done already. */
  async close(): Promise<void> {
    await Promise.all([this.#source.kill(), this.#destination.kill()]);
  }

  get #peer(): { home: string; port: number } {
    return { home: this.#at("source"), port: this.#serving!.port };
  }

  async #usage(collect: boolean): Promise<UsageOfAll> {
    const [source, destination] = await Promise.all([
      this.#source.ask({ ask: "usage", collect }),
      this.#destination.ask({ ask: "usage", collect }),
    ]);
    const tpm = this.#tpm === undefined ? null : processCpuMs(this.#tpm);
    return { source, destination, tpm };
  }

  #at(name: string): string {
    return join(this.#options.folder, name);
  }
}

interface UsageOfAll {
  source: CpuTime;
  destination: CpuTime;
  tpm: number | null;
}

function costBetween(before: UsageOfAll, after: UsageOfAll) {
  const cpuMs = (side: "source" | "destination") => {
    const { userMs, systemMs } = cpuBetween(before[side], after[side]);
    return userMs + systemMs;
  };
  const tpm = before.tpm === null || after.tpm === null ? {} : { tpmCpuMs: after.tpm - before.tpm };
  return { sourceCpuMs: cpuMs("source"), destinationCpuMs: cpuMs("destination"), ...tpm };
}
