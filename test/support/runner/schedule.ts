/** In which order test files are run, and which of them side by side. Pure. */

export interface Job {
  file: string;
  /** About how long it takes. */
  seconds: number;
  /** Nothing else runs while it does. */
  alone: boolean;
  /** It waits for deadlines for the most part, and leaves the processors to others. */
  waits: boolean;
}

/** The order in which jobs are started: the longest first, so that none of them is left over at the end; those alone last. */
export function ordered<T extends Job>(jobs: readonly T[]): T[] {
  const rank = (job: Job) => Number(job.alone);
  return [...jobs].sort((a, b) => rank(a) - rank(b) || b.seconds - a.seconds || (a.file < b.file ? -1 : 1));
}

/**
 * Runs every job, in the order of `ordered` as far as there is room: at most `slots` of them at a time, and one of those
 * that wait for the most part beside them; one that is alone has all of it. Settles once all have ended. `run` must not
 * reject.
 */
export async function runJobs<T extends Job>(
  jobs: readonly T[],
  slots: number,
  run: (job: T) => Promise<void>,
): Promise<void> {
  const left = ordered(jobs);
  const running = new Map<T, Promise<void>>();
  const hasRoom = (job: T): boolean => {
    const beside = [...running.keys()];
    if (job.alone || beside.some(({ alone }) => alone)) return beside.length === 0;
    return beside.filter(({ waits }) => waits === job.waits).length < (job.waits ? 1 : slots);
  };
  while (left.length > 0) {
    const next = left.findIndex(hasRoom);
    const [job] = next === -1 ? [] : left.splice(next, 1);
    if (job === undefined) await Promise.race(running.values());
    else
      running.set(
        job,
        run(job).finally(() => running.delete(job)),
      );
  }
  await Promise.all(running.values());
}
