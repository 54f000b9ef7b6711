/**
 * What is done for VMs that went on, while nobody waits for it: a process that ends lets it finish. Each takes seconds at
 * most, and never rejects.
 */
const underWay = new Set<Promise<void>>();

export function careFor(work: Promise<void>): void {
  const done = work.catch(() => {}).finally(() => underWay.delete(done));
  underWay.add(done);
}

/** Resolves once all that has begun is done. */
export async function allCaredFor(): Promise<void> {
  await Promise.all(underWay);
}
