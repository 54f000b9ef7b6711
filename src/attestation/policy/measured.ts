/** What was measured into each register, in words, whether or not a policy judges it: for a person who looks. Pure. */
import { type ImaEntry, imaRegister } from "../logs/ima-log.ts";
import type { PlatformState } from "../structures/platform-state.ts";
import { brief } from "./differences.ts";
import { type ExplainedState, explainState, isUntouched } from "./explained-state.ts";
import type { KnownEvent } from "./policy.ts";

export interface Measured {
  register: number;
  /** The quoted value, in lower-case hex. */
  value: string;
  /** Printable lines, without a full stop: what the logs prove, in order; or why they prove nothing of this register. */
  words: string[];
}

/** More than these are counted, and not shown: GRUB alone measures a hundred commands. */
const mostShown = 40;

/** For each register that was quoted, in order. Never throws for what the logs hold. */
export function measuredInto(state: PlatformState): Measured[] {
  const explained = explainState(state);
  return [...state.registers]
    .sort(([a], [b]) => a - b)
    .map(([register, value]) => ({ register, value, words: wordsFor(register, state, explained) }));
}

function wordsFor(register: number, state: PlatformState, explained: ExplainedState): string[] {
  if (isUntouched(state, register)) return ["nothing was measured into it"];
  if (register === imaRegister)
    return "says" in explained.ima
      ? [withoutStop(explained.ima.says)]
      : firstOf(explained.ima.proven, entryWords);
  const events = explained.eventsOf(register);
  if (events !== null) return firstOf(events, eventWords);
  if (explained.eventLogFault !== null) return [withoutStop(explained.eventLogFault)];
  return [
    state.eventLog === null
      ? "there is no firmware's log"
      : "the firmware's log does not give this value: something else was measured, or after it",
  ];
}

function firstOf<Known>(all: readonly Known[], say: (known: Known) => string): string[] {
  const more = all.length - mostShown;
  return [...all.slice(0, mostShown).map(say), ...(more > 0 ? [`and ${more} more`] : [])];
}

function eventWords({ digest, words }: KnownEvent): string {
  return `${words} (${brief(digest)})`;
}

function entryWords(entry: ImaEntry): string {
  const { path, digest, template } = entry.fields();
  const what = path ?? `an entry in the template ${template}`;
  if (entry.violation) return `${what} (written to while it was in use)`;
  return digest === null ? what : `${what} (${brief(digest)})`;
}

function withoutStop(sentence: string): string {
  return sentence.replace(/\.$/, "");
}
