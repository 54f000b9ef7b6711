/**
 * The source's side of ownership, as a pure function: (state, event) -> (state, actions). Whatever changes
 * a session's record on the source goes through here: the destination's messages, a person's decision, a move
 * that is given up, a process that died, a journal that is older than the files.
 *
 * The durable part is `record` (records.ts); the phase is forgotten when the process dies or the link breaks.
 * Actions are carried out in order, each before the next; a death between two of them is what the exhaustive
 * test kills at (test/migration/ownership/ownership.test.ts).
 *
 * May the source's copy be started?  sending, cancelled: yes.  released, confirmed: never by us (owner.ts).
 * A copy takes nothing from the source, so there the answer is always yes; and if it was published
 * before a cancellation came, it was made (cancelled ──▶ confirmed).
 */
import type { Mode, Phase } from "./phases.ts";
import type { SourceRecord } from "./records.ts";

export interface SourceState {
  mode: Mode;
  record: SourceRecord;
  phase: Phase;
  /** The VM ran when the move began and may stand still here by our doing: it is to be resumed if it stays. */
  standsStill: boolean;
  /** Set when nothing is left to do: how it ended. */
  ended?: "completed" | "cancelled";
}

/** Who a person says owns the VM, or that the session is given up; `ask` asks the other side first. */
export type Decision = "source" | "destination" | "cancel" | "ask";

/** While a link stands. */
type LinkEvent =
  /** A link to the destination stands, the peer is who it should be. */
  | { type: "linked" }
  | { type: "link-lost" }
  /** The destination answered OFFER with what it has on record. */
  | { type: "accepted"; state: "receiving" | "owner" | "published" | "cancelled" }
  /** Every chunk has been acknowledged. */
  | { type: "transferred" }
  /** The destination has everything durable, and its digest equals ours. */
  | { type: "ready" }
  | { type: "owned" }
  | { type: "published" }
  /** The destination says on record that it gave the session up. */
  | { type: "destination-cancelled" }
  | { type: "closed" };

/** While none does, by whoever holds the session's lock. */
type LocalEvent =
  /** A send begins anew, with other files or to another destination. */
  | { type: "superseded" }
  /** The move came to nothing and is not taken up again, or the process that made it has died. */
  | { type: "given-up" }
  /** The VM's files say that this session released them: the record is older than they are. */
  | { type: "found-marked" }
  | { type: "decided"; decision: Decision };

export type SourceEvent = LinkEvent | LocalEvent;

export type SourceAction =
  | "send-offer"
  | "transfer"
  | "send-seal"
  | "record-released"
  /** Write into the VM's files that this session released them. Idempotent. */
  | "mark-files"
  /** Before `cancelled` is recorded: what is marked and cancelled was restored from a backup. Idempotent. */
  | "unmark-files"
  | "send-release"
  | "send-publish"
  | "record-confirmed"
  | "retire-files"
  | "send-confirm"
  | "record-cancelled"
  | "send-cancel"
  /** Note that the destination knows of the cancellation. */
  | "record-told"
  /** Let a VM that ran run again. Idempotent. */
  | "resume-vm"
  /** Note that nothing is left to do to the VM here. */
  | "record-settled"
  /** Tell the destination of the cancellation, if it can be reached. */
  | "tell-cancelled"
  /** Call the destination and go on from `linked`. */
  | "ask-destination"
  /** Say that the destination owns what was given up here by a person's decision. */
  | "report-two-owners"
  /** The event does not fit: the peer broke the protocol, or ownership is in doubt. */
  | "refuse"
  /** A decision against what this host knows. */
  | "refuse-too-late"
  | "refuse-never-released"
  | "refuse-being-sent";

export interface SourceStep {
  state: SourceState;
  actions: SourceAction[];
}

/** The state of a session as its durable record leaves it, before a link stands. */
export function sourceStart(record: SourceRecord, mode: Mode, standsStill = false): SourceState {
  return { mode, record, phase: "begin", standsStill };
}

/** One step of the source. Total: every event in every state has an answer. */
export function sourceStep(state: SourceState, event: SourceEvent): SourceStep {
  const stay = (...actions: SourceAction[]): SourceStep => ({ state, actions });
  const to = (phase: Phase, ...actions: SourceAction[]): SourceStep => ({
    state: { ...state, phase },
    actions,
  });
  if (state.ended !== undefined) return stay();

  switch (event.type) {
    case "linked":
      switch (state.record) {
        case "sending":
          return to("prepare", "send-offer");
        case "released":
          return to("handover", "mark-files", "send-release");
        case "confirmed":
          return to("confirm", "retire-files", "send-confirm");
        case "cancelled":
          return to("confirm", "send-cancel");
      }
      break;

    case "link-lost":
      return to("begin");

    case "accepted":
      if (state.phase !== "prepare") return stay("refuse");
      switch (event.state) {
        case "receiving":
          return to("stop-and-copy", "transfer");
        case "published":
          // A copy that was published while our record of it was lost on the way.
          return state.mode === "copy" ? confirmed(state) : stay("refuse");
        case "owner":
          // We have not released it: no honest destination can own it. Nobody touches anything.
          return stay("refuse");
        case "cancelled":
          return cancelledThere(state);
      }
      break;

    case "transferred":
      return state.phase === "stop-and-copy" ? to("seal", "send-seal") : stay("refuse");

    case "ready":
      if (state.phase !== "seal") return stay("refuse");
      return state.mode === "copy"
        ? to("handover", "send-publish")
        : {
            state: { ...state, phase: "handover", record: "released" },
            actions: ["record-released", "mark-files", "send-release"],
          };

    case "owned":
      if (state.record === "cancelled" && state.phase === "confirm") {
        return { state: { ...state, ended: "cancelled" }, actions: ["report-two-owners"] };
      }
      return state.phase === "handover" && state.record === "released" ? confirmed(state) : stay("refuse");

    case "published":
      if (state.mode !== "copy") return stay("refuse");
      // A cancellation that came too late is answered so, too: the copy is there.
      return state.phase === "handover" || state.record === "cancelled" ? confirmed(state) : stay("refuse");

    case "destination-cancelled":
      return state.record === "confirmed" ? stay("refuse") : cancelledThere(state);

    case "closed":
      return state.phase === "confirm" && state.record === "confirmed"
        ? { state: { ...state, ended: "completed" }, actions: [] }
        : stay("refuse");

    case "superseded":
      if (state.record !== "sending") return stay("refuse");
      return { state: { ...state, record: "cancelled" }, actions: ["resume-vm", "record-cancelled"] };

    case "given-up":
      return givenUp(state);

    case "found-marked":
      switch (state.record) {
        case "sending":
          return { state: { ...state, record: "released" }, actions: ["record-released"] };
        case "cancelled":
          // The mark goes before a cancellation is recorded: this record is of another time than the files.
          return stay("refuse");
        default:
          return stay();
      }

    case "decided":
      return decided(state, event.decision);
  }
}

function decided(state: SourceState, decision: Decision): SourceStep {
  const { record, standsStill } = state;
  const stay = (...actions: SourceAction[]): SourceStep => ({ state, actions });
  switch (decision) {
    case "cancel":
      return record === "released" || record === "confirmed" ? stay("refuse-too-late") : givenUp(state);

    case "source":
      if (record === "confirmed") return stay("refuse-too-late");
      if (record === "released") {
        return {
          state: { ...state, record: "cancelled" },
          actions: ["unmark-files", "record-cancelled", "resume-vm", "record-settled"],
        };
      }
      // It is the source's already; a VM that stands still by our doing is resumed.
      return standsStill ? givenUp(state) : stay();

    case "destination":
      if (record === "sending" || record === "cancelled") return stay("refuse-never-released");
      return {
        state: { ...state, record: "confirmed", ended: "completed" },
        actions: [...(record === "released" ? ["record-confirmed" as const] : []), "retire-files"],
      };

    case "ask":
      if (record === "released" || record === "confirmed") return stay("ask-destination");
      if (record === "sending" && !standsStill) return stay("refuse-being-sent");
      return givenUp(state);
  }
}

/** Nothing was released, or it was given back: the VM is the source's, and runs again if it ran. */
function givenUp(state: SourceState): SourceStep {
  switch (state.record) {
    case "sending":
      return {
        state: { ...state, record: "cancelled" },
        actions: ["resume-vm", "record-cancelled", "record-settled", "tell-cancelled"],
      };
    case "cancelled":
      return { state, actions: ["resume-vm", "record-settled", "tell-cancelled"] };
    default:
      return { state, actions: ["refuse"] };
  }
}

function confirmed(state: SourceState): SourceStep {
  return {
    state: { ...state, phase: "confirm", record: "confirmed" },
    actions: ["record-confirmed", "retire-files", "send-confirm"],
  };
}

/** The destination never will own it. */
function cancelledThere(state: SourceState): SourceStep {
  const ended = { ...state, record: "cancelled" as const, ended: "cancelled" as const };
  switch (state.record) {
    case "cancelled":
      return { state: ended, actions: ["record-told"] };
    case "released":
      return { state: ended, actions: ["unmark-files", "record-cancelled", "record-told"] };
    default:
      return { state: ended, actions: ["record-cancelled", "record-told"] };
  }
}
