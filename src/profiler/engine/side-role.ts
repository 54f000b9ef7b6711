/** How a measuring process answers its questions: the other end of side-process.ts. */
import { type CpuTime, cpuBetween, usage } from "../../platform/usage.ts";
import { asMigrateError, MigrateError, type Side } from "../../protocol/errors.ts";
import type { ProofTime } from "../statistics/attest-samples.ts";
import type { FullEngine, FullPeer, FullSend, FullServe, FullServing } from "./full-engine.ts";
import { ThesisDestination } from "./thesis-destination.ts";
import { type MeasuringAddress, type RunFigures, type SourceRun, ThesisSource } from "./thesis-source.ts";

/** Both ends are ours: nothing here is checked. Buffers travel as hex digits. */
export type Question =
  | { ask: "be-source" }
  | { ask: "run"; address: Omit<MeasuringAddress, "secret"> & { secret: string }; run: SourceRun }
  | {
      ask: "be-destination";
      host: string;
      port: number;
      source: string;
      secret: string;
      folder: string | null;
      mostBytes: number;
      prepare: readonly number[];
    }
  | { ask: "full-serve"; options: FullServe }
  | { ask: "full-send"; options: FullSend }
  | { ask: "full-record"; peer: FullPeer }
  | { ask: "full-prove"; peer: FullPeer }
  /** Garbage is collected first, unless `collect` is false. */
  | { ask: "usage"; collect?: boolean };

export type Answer =
  | { answer: "be-source"; fingerprint: string; clockCostNs: number }
  | { answer: "run"; figures: RunFigures }
  | { answer: "be-destination"; fingerprint: string; port: number; plainPort: number }
  | ({ answer: "full-serve" } & FullServing)
  | { answer: "full-send"; wireBytes: number; totalMs: number; setup: FullSetup; proofs: ProofTime[] }
  | { answer: "full-record" }
  | { answer: "full-prove"; proofs: ProofTime[] }
  | { answer: "usage"; userMs: number; systemMs: number }
  | { answer: "error"; code: string; message: string; side?: Side; hint?: string };

/** Until the connection stands. */
export interface FullSetup extends CpuTime {
  wallMs: number;
}

/**
 * Answers questions (lines) until there are no more. `full` is the product's engine, which this folder
 * may not know itself.
 */
export async function playRole(
  lines: AsyncIterable<string>,
  write: (line: string) => void,
  full: FullEngine,
): Promise<void> {
  const role = new SideRole(full);
  try {
    for await (const line of lines) {
      let answer: Answer;
      try {
        answer = await role.answer(JSON.parse(line) as Question);
      } catch (thrown) {
        const { code, message, side, hint } = asMigrateError(thrown);
        answer = { answer: "error", code, message, ...(side && { side }), ...(hint && { hint }) };
      }
      write(`${JSON.stringify(answer)}\n`);
    }
  } finally {
    role.end();
  }
}

class SideRole {
  readonly #full: FullEngine;
  #source: ThesisSource | undefined;
  #destination: ThesisDestination | undefined;

  constructor(full: FullEngine) {
    this.#full = full;
  }

  async answer(question: Question): Promise<Answer> {
    switch (question.ask) {
      case "be-source": {
        this.#source = await ThesisSource.make();
        const { fingerprint, clockCostNs } = this.#source;
        return { answer: "be-source", fingerprint, clockCostNs };
      }
      case "run": {
        if (this.#source === undefined) throw new MigrateError("bug", "this process is no source");
        const address = { ...question.address, secret: Buffer.from(question.address.secret, "hex") };
        return { answer: "run", figures: await this.#source.run(address, question.run) };
      }
      case "be-destination": {
        const { ask: _, secret, ...options } = question;
        this.#destination = await ThesisDestination.open({ ...options, secret: Buffer.from(secret, "hex") });
        const { fingerprint, port, plainPort } = this.#destination;
        return { answer: "be-destination", fingerprint, port, plainPort };
      }
      case "full-serve":
        return { answer: "full-serve", ...(await this.#full.serve(question.options)) };
      case "full-send":
        return this.#fullSend(question.options);
      case "full-record":
        await this.#full.record(question.peer);
        return { answer: "full-record" };
      case "full-prove":
        return { answer: "full-prove", proofs: await this.#full.prove(question.peer) };
      case "usage": {
        // Asked before a run and after it: the garbage of an earlier run is not charged to the next one.
        if (question.collect !== false) Bun.gc(true);
        const { userMs, systemMs } = usage("self");
        return { answer: "usage", userMs, systemMs };
      }
    }
  }

  end(): void {
    this.#destination?.close();
    this.#full.end();
  }

  async #fullSend(options: FullSend): Promise<Answer> {
    const startMs = performance.now();
    const start = usage("self");
    let setup: FullSetup = { wallMs: 0, userMs: 0, systemMs: 0 };
    const { wireBytes, proofs } = await this.#full.send(options, () => {
      if (setup.wallMs > 0) return;
      setup = { wallMs: performance.now() - startMs, ...cpuBetween(start, usage("self")) };
    });
    return { answer: "full-send", wireBytes, setup, proofs, totalMs: performance.now() - startMs };
  }
}
