/** In which order test files are run, and which of them side by side. Pure. */

export interface Job {
  file: string;
  /** About how long it takes. */
  seconds: number;
  /** Nothing else runs while it does. */
  alone: boolean;
}

/** The order in which jobs are started: the longest first, so that none of them is left over at the end; those alone last. */
export function ordered<T extends Job>(jobs: readonly T[]): T[] {
  const rank = (job: Job) => Number(job.alone);
  return [...jobs].sort((a, b) => rank(a) - rank(b) || b.seconds - a.seconds || (a.file < b.file ? -1 : 1));
}

/**
 * Runs every job, at most `slots` of them at a time, in the order of `ordered`; one that is alone has all slots.
 * Settles once all have ended. `run` must not reject.
 */
export async function runJobs<T extends Job>(
  jobs: readonly T[],
  slots: number,
  run: (job: T) => Promise<void>,
): Promise<void> {
  const waiting = ordered(jobs);
  const running = new Set<Promise<void>>();
  for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
    const most = job.alone ? 1 : slots;
    while (running.size >= most) await Promise.race(running);
    const one: Promise<void> = run(job).finally(() => running.delete(one));
    running.add(one);
    // Those alone come last: nothing is started beside one.
    if (job.alone) await one;
  }
  await Promise.all(running);
}
