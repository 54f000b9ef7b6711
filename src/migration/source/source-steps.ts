/**
 * Runs the source's ownership machine (ownership/source-machine.ts) on a session of the journal: passes
 * events to it, and carries out those of its actions that need no link. Every change of a source's state in
 * the journal is made here.
 */
import { MigrateError } from "../../protocol/errors.ts";
import { markReleased, type ReleaseMark, unmarkReleased } from "../../vm/folder/release-mark.ts";
import type { Change, Journal, SessionRecord } from "../journal/journal.ts";
import type { StoredReceipt } from "../journal/receipt-table.ts";
import type { SourceRecord } from "../ownership/records.ts";
import {
  type SourceAction,
  type SourceEvent,
  type SourceState,
  sourceStart,
  sourceStep,
} from "../ownership/source-machine.ts";
import type { Departure } from "../providers/departure.ts";
import { providerOf } from "../providers/providers.ts";
import type { Observer } from "../report/events.ts";

export interface SourceStepsOptions {
  home: string;
  journal: Journal;
  session: string;
  /** This process's departure; undefined if the process only ends a session that another one began. */
  departure?: Departure | undefined;
  observe: Observer;
  now: () => number;
}

export class SourceSteps {
  readonly #options: SourceStepsOptions;
  #state: SourceState;
  /** The record on which the current step was decided. */
  #decidedOn: SourceRecord;
  /** The receipt for what the destination has said; it becomes durable with the record that follows from it. */
  given: StoredReceipt | null = null;

  /** Begins from the session's record as it is now. */
  constructor(options: SourceStepsOptions) {
    this.#options = options;
    const { state, mode } = this.record;
    this.#state = sourceStart(state as SourceRecord, mode, providerOf(this.record).standsStill(this.record));
    this.#decidedOn = this.#state.record;
  }

  /** The session's record as it is in the journal now. */
  get record(): SessionRecord {
    return this.#options.journal.find(this.#options.session)!;
  }

  get state(): SourceState {
    return this.#state;
  }

  /**
   * Passes an event to the machine. Returns the actions, which the caller carries out in order; after a
   * refusal the state is unchanged.
   */
  step(event: SourceEvent): SourceAction[] {
    const { state, actions } = sourceStep(this.#state, event);
    if (actions.some(isRefusal)) return actions;
    this.#decidedOn = this.#state.record;
    this.#state = state;
    return actions;
  }

  /** Carries out an action if it needs no link. Returns false if it does need one. Throws MigrateError. */
  async perform(action: SourceAction): Promise<boolean> {
    const { home, departure, now } = this.#options;
    const provider = providerOf(this.record);
    switch (action) {
      case "record-released":
        this.#to("released", { phase: "handover" });
        return true;
      case "record-confirmed":
        this.#to("confirmed", { phase: "confirm", doneBytes: this.record.bytes });
        return true;
      case "record-cancelled":
        this.#to("cancelled", { endedAtMs: now() });
        return true;
      case "record-told":
        this.#write("acknowledged", { acknowledged: true });
        return true;
      case "record-settled":
        this.#write("resumed", { settled: true });
        return true;
      case "withdraw-vm":
        await provider.withdraw?.(this.record, {
          departure,
          keep: (kept) => this.#write("withdrawn", { kept }),
        });
        return true;
      case "mark-files":
        this.#mark();
        return true;
      case "unmark-files":
        this.#unmark();
        return true;
      case "retire-files":
        if (this.record.settled) return true;
        await provider.retire(this.record, home, departure, (message) =>
          this.#options.observe({ event: "warning", message }),
        );
        this.#write("retired", { settled: true });
        return true;
      case "resume-vm":
        // As the record is by now: a VM that was released stood still as well, until it was given back.
        if (provider.standsStill(this.record)) await provider.resumeHere(this.record, departure);
        return true;
      case "report-two-owners":
        this.#options.observe({
          event: "warning",
          message: `the destination owns ${this.record.name}, which was given up here: run it in one place only (session ${this.record.session.slice(0, 12)})`,
        });
        return true;
      default:
        return false;
    }
  }

  #to(to: SourceRecord, change: Change): void {
    const { journal, session, now } = this.#options;
    const edge = { side: "source", from: this.#decidedOn, to } as const;
    journal.write(to, () => {
      journal.step(session, edge, { ...change, updatedAtMs: now() });
      if (this.given !== null && to !== "cancelled") journal.receipts.take(this.given);
    });
    this.given = null;
  }

  #write(label: string, change: Change): void {
    const { journal, session, now } = this.#options;
    journal.write(label, () => journal.update(session, { ...change, updatedAtMs: now() }));
  }

  /** Files that cannot be marked are released nevertheless: the record tells so for every file. */
  #mark(): void {
    const { session, peer, name } = this.record;
    const unmarked = providerOf(this.record)
      .ownFiles(this.record)
      .filter(({ path, identity }) => !mark(path, identity, { session, to: peer }));
    if (unmarked.length === 0) return;
    this.#options.observe({
      event: "notice",
      message: `the files of ${name} cannot say themselves that they were released (their file system keeps no attributes): only the journal in MIGRATE_HOME knows`,
    });
  }

  /**
   * Throws MigrateError "io" if a mark cannot be removed: a file that keeps its mark could not be sent again.
   */
  #unmark(): void {
    const { session } = this.record;
    for (const { path } of providerOf(this.record).ownFiles(this.record)) {
      try {
        unmarkReleased(path, session);
      } catch (cause) {
        const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
        throw new MigrateError("io", `the mark of its release cannot be taken off ${path} (${why})`, {
          side: "source",
          hint: "see that the file can be written, then run migrate resolve again",
          cause,
        });
      }
    }
  }
}

function isRefusal(action: SourceAction): boolean {
  return action.startsWith("refuse");
}

function mark(path: string, identity: string, mark: ReleaseMark): boolean {
  try {
    return markReleased(path, mark, identity);
  } catch {
    return false;
  }
}
