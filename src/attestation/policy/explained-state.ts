/** A platform's state with its logs read and held against the registers that the quote is over. Pure. */
import { MigrateError } from "../../protocol/errors.ts";
import { digestOf, type EventLog, initialValue, parseEventLog, replayEvents } from "../logs/event-log.ts";
import { type ImaEntry, imaRegister, parseImaLog, replayIma, replaysAsPaddedSha1 } from "../logs/ima-log.ts";
import { type KnownProgram, knownPrograms } from "../logs/programs.ts";
import type { Bank, PlatformState } from "../structures/platform-state.ts";
import type { KnownEvent } from "./policy.ts";

export interface ExplainedState {
  /** What was measured into a register, in order, if the log replays to the quoted value; null if not. */
  eventsOf(register: number): readonly KnownEvent[] | null;
  /** The sentence on what is wrong with the firmware's log as a whole; null if nothing is, or there is none. */
  eventLogFault: string | null;
  ima: ProvenList | UnprovenList;
}

/** IMA's list as far as the quote proves it, and how many entries stand behind that. */
export interface ProvenList {
  proven: readonly ImaEntry[];
  behind: number;
}

/** Why nothing of IMA's list is proven. */
export interface UnprovenList {
  kind: "log-missing" | "log-broken" | "log-differs";
  says: string;
}

/** Reads both logs. Never throws for what they hold. */
export function explainState(state: PlatformState): ExplainedState {
  const { bank } = state;
  const log =
    state.eventLog === null ? null : attempt(() => withReplay(parseEventLog(state.eventLog!), bank));
  const fault = typeof log === "string" ? log : null;
  const good = typeof log === "string" ? null : log;
  return {
    eventLogFault: fault,
    eventsOf: (register) =>
      good === null || good.values.get(register) !== state.registers.get(register)
        ? null
        : good.events
            .filter((event) => event.extended && event.register === register)
            .map((event) => ({ digest: digestOf(event, bank), words: event.words })),
    ima: imaOf(state),
  };
}

/** Whether nothing was measured into a quoted register. */
export function isUntouched({ bank, registers }: PlatformState, register: number): boolean {
  return registers.get(register) === initialValue(bank, register);
}

function withReplay(log: EventLog, bank: Bank): EventLog & { values: ReadonlyMap<number, string> } {
  return { ...log, values: replayEvents(log, bank) };
}

function imaOf({ imaLog, registers, bank }: PlatformState): ExplainedState["ima"] {
  const quoted = registers.get(imaRegister);
  if (imaLog === null) return { kind: "log-missing", says: "There is no list of IMA's." };
  if (quoted === undefined) {
    const says = `Register ${imaRegister} is not quoted, so that IMA's list proves nothing.`;
    return { kind: "log-differs", says };
  }
  const log = attempt(() => parseImaLog(imaLog));
  if (typeof log === "string") return { kind: "log-broken", says: log };
  const { entries } = replayIma(log, bank, quoted);
  if (entries !== null)
    return { proven: log.entries.slice(0, entries), behind: log.entries.length - entries };
  const says = replaysAsPaddedSha1(log, bank, quoted)
    ? `IMA extends register ${imaRegister} of ${bank} with SHA-1 there, as Linux before 5.8 does in every bank, and later ones in banks whose hash they have not loaded: use bank sha256, or a newer kernel.`
    : `IMA's list does not give the quoted value of register ${imaRegister}: something is left out of it, added or changed.`;
  return { kind: "log-differs", says };
}

/** What it returns; or the sentence of the error. */
function attempt<Value>(read: () => Value): Value | string {
  try {
    return read();
  } catch (thrown) {
    if (thrown instanceof MigrateError) return thrown.message;
    throw thrown;
  }
}

/** The programs of a move that IMA has measured there, as far as the quote proves it; [] if it proves none. */
export function provenPrograms(state: PlatformState): KnownProgram[] {
  const { ima } = explainState({ ...state, eventLog: null });
  return "says" in ima ? [] : knownPrograms(ima.proven);
}
