/** A platform's state with its logs read and held against the registers that the quote is over. Pure. */
import { MigrateError } from "../../protocol/errors.ts";
import { digestOf, type EventLog, initialValue, parseEventLog, replayEvents } from "../logs/event-log.ts";
import {
  type ImaEntry,
  type ImaLog,
  type ImaReplay,
  imaRegister,
  parseImaLog,
  replayIma,
  replaysAsPaddedSha1,
} from "../logs/ima-log.ts";
import { type KnownProgram, knownPrograms } from "../logs/programs.ts";
import type { Bank, PlatformState } from "../structures/platform-state.ts";
import type { KnownEvent } from "./policy.ts";

export interface ExplainedState {
  /** What was measured into a register, in order, if the log replays to the quoted value; null if not. */
  eventsOf(register: number): readonly KnownEvent[] | null;
  /** The sentence on what is wrong with the firmware's log as a whole; null if nothing is, or there is none. */
  eventLogFault: string | null;
  ima: ProvenList | UnprovenList;
  /** What was read, so that it is not read again. */
  bank: Bank;
  events: ReadEvents;
  list: { log: ImaLog; replay: ImaReplay } | null;
}

interface ReadEvents {
  bytes: Buffer | null;
  log: (EventLog & { values: ReadonlyMap<number, string> }) | null;
  fault: string | null;
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

/**
 * Reads both logs. Never throws for what they hold. `before` is what was explained of an earlier state of the same
 * platform: of a log that is the same, or goes on, only what is new is read. A guest may stand still meanwhile.
 */
export function explainState(state: PlatformState, before?: ExplainedState): ExplainedState {
  const { bank } = state;
  const events = eventsOf(state, before);
  const { log, fault } = events;
  return {
    eventLogFault: fault,
    eventsOf: (register) =>
      log === null || log.values.get(register) !== state.registers.get(register)
        ? null
        : log.events
            .filter((event) => event.extended && event.register === register)
            .map((event) => ({ digest: digestOf(event, bank), words: event.words })),
    ...imaOf(state, before),
    events,
    bank,
  };
}

/** Whether nothing was measured into a quoted register. */
export function isUntouched({ bank, registers }: PlatformState, register: number): boolean {
  return registers.get(register) === initialValue(bank, register);
}

function eventsOf({ eventLog, bank }: PlatformState, before: ExplainedState | undefined): ReadEvents {
  if (eventLog === null) return { bytes: null, log: null, fault: null };
  const same = before?.bank === bank && before.events.bytes?.equals(eventLog);
  if (same) return before.events;
  const log = attempt(() => {
    const parsed = parseEventLog(eventLog);
    return { ...parsed, values: replayEvents(parsed, bank) };
  });
  return typeof log === "string"
    ? { bytes: eventLog, log: null, fault: log }
    : { bytes: eventLog, log, fault: null };
}

function imaOf(
  { imaLog, registers, bank }: PlatformState,
  before: ExplainedState | undefined,
): Pick<ExplainedState, "ima" | "list"> {
  const unproven = (kind: UnprovenList["kind"], says: string) => ({ ima: { kind, says }, list: null });
  const quoted = registers.get(imaRegister);
  if (imaLog === null) return unproven("log-missing", "There is no list of IMA's.");
  if (quoted === undefined)
    return unproven(
      "log-differs",
      `Register ${imaRegister} is not quoted, so that IMA's list proves nothing.`,
    );
  const known = before?.bank === bank ? before.list : null;
  const log = attempt(() => parseImaLog(imaLog, known?.log));
  if (typeof log === "string") return unproven("log-broken", log);
  // What was read before is the beginning of this list only if its entries are this list's.
  const from = known !== null && known.log.entries[0] === log.entries[0] ? known.replay : undefined;
  const replay = replayIma(log, bank, quoted, from);
  if (replay.entries !== null) {
    const proven = log.entries.slice(0, replay.entries);
    return { ima: { proven, behind: log.entries.length - replay.entries }, list: { log, replay } };
  }
  if (replaysAsPaddedSha1(log, bank, quoted))
    return unproven(
      "log-differs",
      `IMA extends register ${imaRegister} of ${bank} with SHA-1 there, as Linux before 5.8 does in every bank, and later ones in banks whose hash they have not loaded: use bank sha256, or a newer kernel.`,
    );
  return unproven(
    "log-differs",
    `IMA's list does not give the quoted value of register ${imaRegister}: something is left out of it, added or changed.`,
  );
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
