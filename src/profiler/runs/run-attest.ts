/** A whole `migrate profile --attest`: rounds of moves with proofs, moves without, and proofs alone. */
import type { MoveSample, ProofSample } from "../statistics/attest-samples.ts";
import { rounds } from "./schedule.ts";

/** What is measured: a move over TLS, one with proofs as well, and the proofs alone. */
export type AttestRun = "tls" | "attested" | "proofs";

export interface AttestSidesLike {
  /** Absent where nothing is moved: proofs alone are measured then. */
  move?: (attested: boolean) => Promise<MoveSample>;
  prove: () => Promise<ProofSample>;
}

export interface AttestRunOptions {
  sides: AttestSidesLike;
  runs: number;
  seed: number;
  progress: (run: AttestRun, doneRuns: number, allRuns: number) => void;
  signal: AbortSignal;
}

/**
 * A destination answers one source so many questions a second (work-rate.ts), more than a person asks: a round takes at
 * least so long, so that none of them waits here.
 */
const leastRoundMs = 1500;

/** Each run once to warm up, then all rounds. Throws the MigrateError of a run, or the signal's reason. */
export async function runAttest(options: AttestRunOptions): Promise<{
  moves: MoveSample[];
  proofs: ProofSample[];
}> {
  const { sides, runs, seed, progress, signal } = options;
  const all: readonly AttestRun[] = sides.move === undefined ? ["proofs"] : ["tls", "attested", "proofs"];
  const moves: MoveSample[] = [];
  const proofs: ProofSample[] = [];
  const interrupted = Promise.withResolvers<never>();
  interrupted.promise.catch(() => {});
  const interrupt = () => interrupted.reject(signal.reason);
  signal.addEventListener("abort", interrupt, { once: true });
  const measure = async (run: AttestRun, isKept: boolean) => {
    signal.throwIfAborted();
    progress(run, moves.length + proofs.length, runs * all.length);
    if (run === "proofs") {
      const sample = await Promise.race([sides.prove(), interrupted.promise]);
      if (isKept) proofs.push(sample);
    } else {
      const sample = await Promise.race([sides.move!(run === "attested"), interrupted.promise]);
      if (isKept) moves.push(sample);
    }
  };
  try {
    for (const [number, round] of [all, ...rounds(all, runs, seed)].entries()) {
      const beganMs = performance.now();
      for (const run of round) await measure(run, number > 0);
      if (number === runs) break;
      const restMs = leastRoundMs - (performance.now() - beganMs);
      if (restMs > 0) await Promise.race([Bun.sleep(restMs), interrupted.promise]);
    }
  } finally {
    signal.removeEventListener("abort", interrupt);
  }
  return { moves, proofs };
}
