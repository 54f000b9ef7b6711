/** What this host's serve was last given: the store, and the flags that decide what it takes. */

export interface LastServed {
  store: string;
  /** `--qemu`, `--net …` and the like, as words. */
  flags: readonly string[];
}

/** Null if none has run here, or what it was given cannot be read. */
export function lastServed(_home: string): LastServed | null {
  return null;
}
