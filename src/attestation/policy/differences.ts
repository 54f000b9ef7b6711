/** How two lists of what was measured into a register differ, in words. Pure. */
import type { KnownEvent } from "./policy.ts";

/** More than these are counted, and not shown. */
const mostShown = 12;

/** What a difference is called: of what was measured, the order counts; of the lines of a rule it does not. */
interface Naming {
  gone: string;
  come: string;
  ordered: boolean;
}

const measured: Naming = { gone: "no longer measured", come: "measured now and not before", ordered: true };

/** Of what a rule requires, or allows. */
export const ruled = (what: "required" | "allowed"): Naming => ({
  gone: `no longer ${what}`,
  come: `${what} now`,
  ordered: false,
});

/**
 * A sentence for each thing that was there before and is not now, the other way round, or is by the same words something
 * else; [] if there is no difference. At most mostShown sentences, and one that counts the rest.
 */
export function differences(
  before: readonly KnownEvent[],
  now: readonly KnownEvent[],
  { gone, come, ordered }: Naming = measured,
): string[] {
  const left = without(before, now);
  const added = without(now, before);
  const words: string[] = [];
  for (const event of left) {
    const same = added.findIndex((other) => other.words === event.words);
    if (same < 0) words.push(`${gone}: ${event.words} (${brief(event.digest)})`);
    else {
      const [other] = added.splice(same, 1);
      words.push(
        `has changed: ${event.words} (${brief(event.digest)} before, ${brief(other?.digest ?? "")} now)`,
      );
    }
  }
  words.push(...added.map((event) => `${come}: ${event.words} (${brief(event.digest)})`));
  if (ordered && words.length === 0 && before.some((event, index) => event.digest !== now[index]?.digest))
    return ["the same was measured in another order"];
  return bounded(words);
}

/** The first sentences, and one that counts the others. */
function bounded(words: readonly string[]): string[] {
  return words.length <= mostShown
    ? [...words]
    : [...words.slice(0, mostShown), `and ${words.length - mostShown} more`];
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
