/**
 * What is said on a console's socket before the serial line itself: one line of JSON, then the history that it
 * announces, then what the guest says, byte for byte. Pure.
 */
import * as v from "valibot";

/** Longer than any greeting; whoever reads more has something else before them. */
export const greetingBytes = 256;

/** Above what any keeper has of a line. */
const mostHistoryBytes = 2 * 1024 * 1024;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(mostHistoryBytes));
const schema = v.object({
  /** Bytes of history that follow. */
  history: count,
  /** Of these, how many nobody has seen on a console. */
  unseen: count,
  /** Other consoles that look at this line. */
  others: count,
});

export type Greeting = v.InferOutput<typeof schema>;

export function greetingText(greeting: Greeting): string {
  return `${JSON.stringify(greeting)}\n`;
}

/** Throws a SyntaxError or ValiError for what is no greeting. */
export function parseGreeting(text: string): Greeting {
  return v.parse(schema, JSON.parse(text));
}
