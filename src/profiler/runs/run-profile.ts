/** A whole profile: every run of the plan, in its order; if it is cut short, what was measured until then. */
import { asMigrateError, type MigrateError } from "../../protocol/errors.ts";
import type { ProfiledFile, Sides } from "../engine/sides.ts";
import type { Plan, Sample, Samples, SuiteName } from "../statistics/samples.ts";
import { samplesVersion } from "../statistics/samples.ts";
import { tlsShareOf, withTlsShare } from "../statistics/tls-share.ts";
import { bytesOf, type PlannedRun, schedule } from "./schedule.ts";

export interface ProfileProgress {
  /** What is under way, or null between two runs. */
  run: Pick<PlannedRun, "suite" | "ramBytes" | "diskBytes"> | null;
  /** It is a warm-up, which is not kept. */
  warmUp: boolean;
  doneRuns: number;
  allRuns: number;
  /** Estimated from what has been measured; undefined before there is anything to estimate from. */
  leftMs: number | undefined;
}

export interface ProfileOptions {
  plan: Plan;
  seed: number;
  environment: Omit<Samples["environment"], "clockCostNs" | "link" | "tlsShare">;
  sides: Sides;
  /** The files of a run: the first `ramBytes` of the RAM, and the disk if the run has one. */
  filesOf: (run: Pick<PlannedRun, "ramBytes" | "diskBytes">) => readonly ProfiledFile[];
  /** A run to warm up with, as small as may be. */
  warmUp: Pick<PlannedRun, "ramBytes" | "diskBytes">;
  /** What an earlier profile with the same plan and seed has measured already. */
  taken?: readonly Sample[];
  startedAt: string;
  progress: (progress: ProfileProgress) => void;
  /** Called after each run with all that was measured so far, so that nothing is lost. */
  keep: (samples: Samples) => void;
  signal: AbortSignal;
  /** Suspends and resumes the VM around each run; if they are absent there is nothing to suspend. */
  suspend?: () => Promise<void>;
  resume?: () => Promise<void>;
}

export interface ProfileResult {
  samples: Samples;
  /** What cut it short; absent if the plan is done. */
  stopped?: MigrateError;
}

/**
 * Measures what is not `taken` yet. Never throws for a run that fails: what was measured is returned,
 * marked as partial, with the error. The sides are closed in any case.
 */
export async function runProfile(options: ProfileOptions): Promise<ProfileResult> {
  const { plan, seed, sides, signal, taken = [] } = options;
  const measured = new Set(taken.map(({ order }) => order));
  const all = schedule(plan, seed);
  const due = all.filter(({ order }) => !measured.has(order));
  const samples = [...taken];
  const pace = new Pace();
  const progress = (run: ProfileProgress["run"], warmUp: boolean) => {
    const left = due.slice(samples.length - taken.length);
    options.progress({
      run,
      warmUp,
      doneRuns: samples.length,
      allRuns: all.length,
      leftMs: pace.leftMs(left),
    });
  };
  const interrupted = Promise.withResolvers<never>();
  interrupted.promise.catch(() => {});
  const interrupt = () => interrupted.reject(signal.reason);
  signal.addEventListener("abort", interrupt, { once: true });
  let stopped: MigrateError | undefined;
  try {
    signal.throwIfAborted();
    for (const suite of new Set(due.map((run) => run.suite))) {
      progress({ suite, ...options.warmUp }, true);
      const { totalMs } = await Promise.race([
        sides.run(suite, options.filesOf(options.warmUp)),
        interrupted.promise,
      ]);
      pace.took({ suite, ...options.warmUp }, totalMs);
    }
    for (const run of due) {
      progress(run, false);
      const sample = await Promise.race([measure(options, run), interrupted.promise]);
      pace.took(run, sample.totalMs);
      samples.push(sample);
      options.keep(samplesOf(options, samples, samples.length < all.length));
      progress(null, false);
    }
  } catch (thrown) {
    stopped = asMigrateError(thrown);
  } finally {
    signal.removeEventListener("abort", interrupt);
    await sides.close();
  }
  return { samples: samplesOf(options, samples, stopped !== undefined), ...(stopped && { stopped }) };
}

async function measure(options: ProfileOptions, run: PlannedRun): Promise<Sample> {
  const { plan, sides, suspend, resume } = options;
  const suspendMs = await timed(suspend);
  const figures = await sides.run(run.suite, options.filesOf(run));
  const resumeMs = await timed(resume);
  return { ...run, engine: plan.engine, ...figures, suspendMs, resumeMs };
}

async function timed(step: (() => Promise<void>) | undefined): Promise<number> {
  if (step === undefined) return 0;
  const startMs = performance.now();
  await step();
  return performance.now() - startMs;
}

function samplesOf(options: ProfileOptions, samples: readonly Sample[], partial: boolean): Samples {
  const { plan, seed, environment, sides, startedAt } = options;
  const share = tlsShareOf(samples);
  return {
    format: "migrate-profile",
    version: samplesVersion,
    partial,
    startedAt,
    seed,
    environment: {
      ...environment,
      link: sides.link,
      clockCostNs: sides.clockCostNs,
      ...(share && { tlsShare: share }),
    },
    zeroBytesSent: plan.engine === "thesis",
    plan,
    samples: withTlsShare(samples, share),
  };
}

/** How fast each suite has been, for the time that is left. */
class Pace {
  readonly #taken = new Map<SuiteName, { bytes: number; ms: number }>();

  took(run: Pick<PlannedRun, "suite" | "ramBytes" | "diskBytes">, ms: number): void {
    const before = this.#taken.get(run.suite) ?? { bytes: 0, ms: 0 };
    this.#taken.set(run.suite, { bytes: before.bytes + bytesOf([run]), ms: before.ms + ms });
  }

  leftMs(runs: readonly PlannedRun[]): number | undefined {
    let leftMs = 0;
    for (const [suite, ofSuite] of Map.groupBy(runs, (run) => run.suite)) {
      const taken = this.#taken.get(suite);
      if (taken === undefined || taken.bytes === 0) return undefined;
      leftMs += (bytesOf(ofSuite) / taken.bytes) * taken.ms;
    }
    return leftMs;
  }
}
