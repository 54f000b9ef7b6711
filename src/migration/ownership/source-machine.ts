/**
 * The source's side of ownership, as a pure function: (state, event) -> (state, actions). Every change of a
 * session's record on the source is decided here: on the destination's messages, a person's decision, a move
 * that is given up, a process that died, or a journal that is older than the files.
 *
 * Only `record` (records.ts) is durable; the phase is forgotten when the process dies or the link breaks.
 * Actions are carried out in order, each before the next; the exhaustive test kills the process between any
 * two of them (test/migration/ownership/ownership.test.ts).
 *
 * May the source's copy be started? In the states sending and cancelled: yes. In released and confirmed:
 * never by this program (owner.ts). If the VM is copied, nothing is taken from the source, so the answer is
 * always yes; and if the copy was published before a cancellation arrived, the copy exists (cancelled ──▶
 * confirmed).
 */
import type { Mode, Phase } from "./phases.ts";
import type { SourceRecord } from "./records.ts";

export interface SourceState {
  mode: Mode;
  record: SourceRecord;
  phase: Phase;
  /**
   * The VM ran when the move began, and may have been stopped by this program: it is to be resumed if it
   * stays here.
   */
  standsStill: boolean;
  /** Set when nothing is left to do: how it ended. */
  ended?: "completed" | "cancelled";
}

/** A person's decision: who owns the VM, or that the session is given up. `ask` asks the other side first. */
export type Decision = "source" | "destination" | "cancel" | "ask";

/** Events while a link stands. */
type LinkEvent =
  /** A link to the destination stands, and the peer is the expected one. */
  | { type: "linked" }
  | { type: "link-lost" }
  /** The destination answered OFFER with what it has on record. */
  | { type: "accepted"; state: "receiving" | "owner" | "published" | "cancelled" }
  /** Every chunk has been acknowledged. */
  | { type: "transferred" }
  /** QEMU has made files longer as it closed them: they have to be offered again. */
  | { type: "grown" }
  /** The destination has everything durable, and its digest equals ours. */
  | { type: "ready" }
  | { type: "owned" }
  | { type: "published" }
  /**
   * The VM goes on here, and was never withdrawn: a manager of VMs has let it go on as this program died. The destination
   * cannot have heard of the release.
   */
  | { type: "still-here" }
  /** The destination answers that its record of the session is cancelled. */
  | { type: "destination-cancelled" }
  | { type: "closed" };

/** Events while no link stands, from the process that holds the session's lock. */
type LocalEvent =
  /** A new send begins, with other files or to another destination. */
  | { type: "superseded" }
  /** The move has failed and is not to be resumed, or the process that made it has died. */
  | { type: "given-up" }
  /** The VM's files say that this session released them: the record is older than they are. */
  | { type: "found-marked" }
  /** There is a receipt by which the destination owns the VM; it may be of any age. */
  | { type: "owned-shown" }
  | { type: "decided"; decision: Decision };

export type SourceEvent = LinkEvent | LocalEvent;

export type SourceAction =
  | "send-offer"
  | "transfer"
  | "send-seal"
  | "record-released"
  /** Take away what could start the VM here without this program, as the definition that a manager has. Idempotent. */
  | "withdraw-vm"
  /** Mark the VM's files as released by this session. Idempotent. */
  | "mark-files"
  /**
   * Remove that mark. Comes before `cancelled` is recorded, so that files which are marked although their
   * session is cancelled show that something was restored from a backup. Idempotent.
   */
  | "unmark-files"
  | "send-release"
  | "send-publish"
  | "record-confirmed"
  | "retire-files"
  | "send-confirm"
  | "record-cancelled"
  | "send-cancel"
  /** Record that the destination knows of the cancellation. */
  | "record-told"
  /** Resume a VM that ran. Idempotent. */
  | "resume-vm"
  /** Record that nothing is left to do to the VM here. */
  | "record-settled"
  /** Tell the destination of the cancellation, if it can be reached. */
  | "tell-cancelled"
  /** Connect to the destination, and resume with the event `linked`. */
  | "ask-destination"
  /** Warn that the destination owns a VM that a person decided to keep here. */
  | "report-two-owners"
  /** The event does not fit: the peer broke the protocol, or ownership is in doubt. */
  | "refuse"
  /** A decision that contradicts what this host knows. */
  | "refuse-too-late"
  | "refuse-never-released"
  /** The destination has signed that it owns what is the source's. */
  | "refuse-two-owners"
  | "refuse-being-sent";

export interface SourceStep {
  state: SourceState;
  actions: SourceAction[];
}

/**
 * Returns the state in which a process begins, before a link stands, from the session's durable record. Pure.
 */
export function sourceStart(record: SourceRecord, mode: Mode, standsStill = false): SourceState {
  return { mode, record, phase: "begin", standsStill };
}

/**
 * One step of the source. Returns the next state, and the actions in the order in which they are to be
 * carried out. Total: every event in every state has an answer. Pure.
 */
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
          return to("handover", "withdraw-vm", "mark-files", "send-release");
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
          // The copy was published, and the link broke before this host could record it.
          return state.mode === "copy" ? confirmed(state) : stay("refuse");
        case "owner":
          // This host has not released it, so no honest destination can own it. Nothing is touched.
          return stay("refuse");
        case "cancelled":
          return cancelledThere(state);
      }
      break;

    case "transferred":
      return state.phase === "stop-and-copy" ? to("seal", "send-seal") : stay("refuse");

    case "grown":
      return state.phase === "stop-and-copy" ? to("prepare", "send-offer") : stay("refuse");

    case "ready":
      if (state.phase !== "seal") return stay("refuse");
      return state.mode === "copy"
        ? to("handover", "send-publish")
        : {
            state: { ...state, phase: "handover", record: "released" },
            actions: ["record-released", "withdraw-vm", "mark-files", "send-release"],
          };

    case "still-here":
      return state.phase === "handover" && state.record === "released"
        ? {
            state: { ...state, phase: "confirm", record: "cancelled" },
            actions: ["unmark-files", "record-cancelled", "send-cancel"],
          }
        : stay("refuse");

    case "owned":
      if (state.record === "cancelled" && state.phase === "confirm") {
        return { state: { ...state, ended: "cancelled" }, actions: ["report-two-owners"] };
      }
      return state.phase === "handover" && state.record === "released" ? confirmed(state) : stay("refuse");

    case "published":
      if (state.mode !== "copy") return stay("refuse");
      // A cancellation that arrives too late has the same answer: the copy exists.
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
          // The mark is removed before a cancellation is recorded: this record and the files are not of the
          // same time.
          return stay("refuse");
        default:
          return stay();
      }

    case "owned-shown":
      return ownedShown(state);

    case "decided":
      return decided(state, event.decision);
  }
}

/** The destination says once that it owns the VM, and only after that was so: it says enough to let go for good. */
function ownedShown(state: SourceState): SourceStep {
  const stay = (...actions: SourceAction[]): SourceStep => ({ state, actions });
  if (state.mode === "copy" || state.record === "sending") return stay("refuse-never-released");
  if (state.record === "cancelled") return stay("refuse-two-owners");
  return {
    state: { ...state, record: "confirmed", ended: "completed" },
    actions: [...(state.record === "released" ? ["record-confirmed" as const] : []), "retire-files"],
  };
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
      // The source owns it already; a VM that this program stopped is resumed.
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

/** Nothing was released, or it was given back: the source owns the VM, which is resumed if it ran. */
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

/** The destination will never own the VM. */
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
