/** How two lists of what was measured into a register differ, in words. Pure. */
import type { KnownEvent } from "./policy.ts";

/** More than these are counted, and not shown. */
const mostShown = 12;

/**
 * A sentence for each thing that was measured then and is not now, the other way round, or is by the same words something
 * else; [] if the same was measured in the same order. At most mostShown sentences, and one that counts the rest.
 */
export function differences(before: readonly KnownEvent[], now: readonly KnownEvent[]): string[] {
  const gone = without(before, now);
  const come = without(now, before);
  const words: string[] = [];
  for (const event of gone) {
    const same = come.findIndex((other) => other.words === event.words);
    if (same < 0) words.push(`no longer measured: ${event.words}`);
    else {
      const [other] = come.splice(same, 1);
      words.push(
        `has changed: ${event.words} (${brief(event.digest)} before, ${brief(other?.digest ?? "")} now)`,
      );
    }
  }
  words.push(...come.map((event) => `measured now and not before: ${event.words} (${brief(event.digest)})`));
  if (words.length === 0 && before.some((event, index) => event.digest !== now[index]?.digest))
    return ["the same was measured in another order"];
  return bounded(words);
}

/** The first sentences, and one that counts the others. */
export function bounded(words: readonly string[], most = mostShown): string[] {
  return words.length <= most ? [...words] : [...words.slice(0, most), `and ${words.length - most} more`];
}

/** The beginning of a digest or a value: enough to find it in a log. */
export function brief(digest: string): string {
  return `${digest.slice(0, digest.indexOf(":") + 17)}…`;
}

/** What of `all` is not in `others`, as often as it is there. */
function without(all: readonly KnownEvent[], others: readonly KnownEvent[]): KnownEvent[] {
  const left = new Map<string, number>();
  for (const { digest } of others) left.set(digest, (left.get(digest) ?? 0) + 1);
  return all.filter(({ digest }) => {
    const count = left.get(digest) ?? 0;
    left.set(digest, count - 1);
    return count <= 0;
  });
}
