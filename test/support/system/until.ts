/**
 * Waits until `holds` gives true, asking again and again, for what announces itself nowhere. Throws
 * with `what` when it does not within `deadlineMs`.
 */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  deadlineMs = 20_000,
): Promise<void> {
  const lateAtMs = performance.now() + deadlineMs;
  while (!(await holds())) {
    if (performance.now() > lateAtMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await Bun.sleep(5);
  }
}
