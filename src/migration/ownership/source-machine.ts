/**
 * The source's side of ownership, as a pure function: (state, event) -> (state, actions).
 *
 * The durable part is `record`; everything else is forgotten when the process dies or the link
 * breaks. Actions are carried out in order, each before the next; a death between two of them is
 * what the exhaustive test kills at (test/migration/ownership/ownership.test.ts).
 *
 *   record   sending ──▶ released ──▶ confirmed         the VM is the destination's
 *               │            └──────▶ cancelled          only where the destination says, durably,
 *               └──────────────────▶ cancelled           that it never will own it, or a person does
 *
 * May the source's copy be started?  sending, cancelled: yes.  released, confirmed: never by us.
 * A copy takes nothing from the source, so there the answer is always yes; and where it was published
 * before a cancellation came, it was made (cancelled ──▶ confirmed).
 */
import type { Mode, Phase } from "./phases.ts";

export type SourceRecord = "sending" | "released" | "confirmed" | "cancelled";

export interface SourceState {
  mode: Mode;
  record: SourceRecord;
  phase: Phase;
  /** Set when nothing is left to do: how it ended. */
  ended?: "completed" | "cancelled";
}

export type SourceEvent =
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
  | { type: "closed" }
  /** The person wants the migration given up. */
  | { type: "cancel" };

export type SourceAction =
  | "send-offer"
  | "transfer"
  | "send-seal"
  | "record-released"
  | "send-release"
  | "send-publish"
  | "record-confirmed"
  | "retire-files"
  | "send-confirm"
  | "record-cancelled"
  | "send-cancel"
  /** The event does not fit: the peer broke the protocol, or ownership is in doubt. */
  | "refuse";

export interface SourceStep {
  state: SourceState;
  actions: SourceAction[];
}

/** The state of a session as its durable record leaves it, before a link stands. */
export function sourceStart(record: SourceRecord, mode: Mode): SourceState {
  return { mode, record, phase: "begin" };
}

/** True where this host may start the source's copy, or let it be started. */
export function sourceMayRun(record: SourceRecord, mode: Mode = "move"): boolean {
  return mode === "copy" || record === "sending" || record === "cancelled";
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
          return to("handover", "send-release");
        case "confirmed":
          return to("confirm", "retire-files", "send-confirm");
        case "cancelled":
          return { state: { ...state, phase: "confirm" }, actions: ["send-cancel"] };
      }
      break;

    case "link-lost":
      return to("begin");

    case "accepted":
      // What was asked before the person cancelled is answered before the cancellation is.
      if (state.record === "cancelled") return stay();
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
          return cancelled(state);
      }
      break;

    case "transferred":
      if (state.record === "cancelled") return stay();
      return state.phase === "stop-and-copy" ? to("seal", "send-seal") : stay("refuse");

    case "ready":
      if (state.record === "cancelled") return stay();
      if (state.phase !== "seal") return stay("refuse");
      return state.mode === "copy"
        ? to("handover", "send-publish")
        : {
            state: { ...state, phase: "handover", record: "released" },
            actions: ["record-released", "send-release"],
          };

    case "owned":
      return state.phase === "handover" && state.record === "released" ? confirmed(state) : stay("refuse");

    case "published":
      if (state.mode !== "copy") return stay("refuse");
      if (state.record === "confirmed") return stay();
      // A cancellation that came too late is answered so, too: the copy is there.
      return state.phase === "handover" || state.record === "cancelled" ? confirmed(state) : stay("refuse");

    case "destination-cancelled":
      if (state.record === "confirmed") return stay("refuse");
      return cancelled(state);

    case "closed":
      return state.phase === "confirm" && state.record === "confirmed"
        ? { state: { ...state, ended: "completed" }, actions: [] }
        : stay("refuse");

    case "cancel":
      if (state.record === "cancelled") return stay();
      // Once released, the answer is the destination's to give.
      if (state.record !== "sending") return stay("refuse");
      return { state: { ...state, record: "cancelled" }, actions: ["record-cancelled", "send-cancel"] };
  }
}

function confirmed(state: SourceState): SourceStep {
  return {
    state: { ...state, phase: "confirm", record: "confirmed" },
    actions: ["record-confirmed", "retire-files", "send-confirm"],
  };
}

function cancelled(state: SourceState): SourceStep {
  return {
    state: { ...state, record: "cancelled", ended: "cancelled" },
    actions: state.record === "cancelled" ? [] : ["record-cancelled"],
  };
}
