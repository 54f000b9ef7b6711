/**
 * The promise, or an error when it has not settled in time.
 * Takes the deadline in milliseconds and what was waited for, either as text or as a function that
 * is asked only once the deadline has passed (so that it can show the state at that moment).
 * Throws an Error "not within N ms: …", or whatever the promise is rejected with.
 */
export async function withDeadline<T>(
  promise: Promise<T>,
  deadlineMs: number,
  what: string | (() => string),
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const text = typeof what === "string" ? what : what();
    late.reject(new Error(`not within ${deadlineMs} ms: ${text}`));
  }, deadlineMs);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
