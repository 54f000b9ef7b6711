/**
 * The destination's side of ownership, as a pure function: (what it has, event) -> (record, actions). Whatever
 * changes a session's record on the destination goes through here: the source's requests, a person's decision,
 * a restart, a move that cannot be completed any more.
 *
 * The destination has no state of its own beside the record (records.ts), which is durable, and the other two
 * witnesses (witness.ts): whatever it is asked after a crash, it answers from there. Every request may come
 * again. If the witnesses show more than the record says, the record is not believed: nothing is removed, no
 * program is ended, nothing is begun anew.
 *
 * May the destination's copy be started?  owner, closed: yes (a copy's published, too, under the
 * copy's own account). Everything else: never by us (owner.ts).
 */
import type { Mode } from "./phases.ts";
import type { DestinationRecord } from "./records.ts";
import type { Decision } from "./source-machine.ts";
import { contradicts, type DestinationWitness } from "./witness.ts";

/** What the source may ask of a session. */
export const destinationRequests = ["offer", "seal", "release", "publish", "confirm", "cancel"] as const;
export type DestinationRequest = (typeof destinationRequests)[number];

export type DestinationEvent =
  | { type: "request"; request: DestinationRequest }
  /** The program that was to run the VM is gone, and the VM certainly never ran here and never will. */
  | { type: "never-ran" }
  /** The VM cannot become whole here any more, or its source has not been heard of for too long. */
  | { type: "given-up" }
  /** A new process finds the session as an earlier one left it. */
  | { type: "restarted" }
  | { type: "decided"; decision: Decision };

/** What the destination has of a session. */
export interface DestinationState {
  record: DestinationRecord;
  mode: Mode;
  witness: DestinationWitness;
  /** The program that holds a VM which came as it ran; "files" if the VM is files alone. */
  program: "files" | "there" | "gone";
}

export type DestinationAction =
  /** Check name, room and limits, reserve the name, make the staging folder. */
  | "reserve"
  /** Sync every byte and compare the digest; only then carry out the actions that follow. */
  | "check-seal"
  | "record-receiving"
  | "record-ready"
  | "record-owner"
  | "record-published"
  | "record-closed"
  | "record-cancelled"
  /** Note that the session is over here, whether or not the source comes back to confirm it. */
  | "record-ended"
  /** Give the staging folder its final name. Idempotent. */
  | "publish-files"
  /** Resume a running VM here. Idempotent; nothing if the VM is files alone. */
  | "run-vm"
  /** End the program that waits with the VM. Idempotent. */
  | "end-vm"
  | "remove-staging"
  /** Give the published folder another name: what is in it is kept. */
  | "set-aside"
  | "send-accept-receiving"
  | "send-accept-owner"
  | "send-accept-published"
  | "send-accept-cancelled"
  | "send-ready"
  | "send-owned"
  | "send-published"
  | "send-closed"
  | "send-cancelled"
  | "report-taken-over"
  | "report-waiting"
  | "report-doubt"
  /** Say that the session is not known here. */
  | "refuse-unknown"
  /** Say that this cannot be asked in this state. */
  | "refuse"
  /** The witnesses disagree: a person has to look. */
  | "refuse-doubt"
  /** Decisions against what this host knows. */
  | "refuse-copy"
  | "refuse-not-whole"
  | "refuse-gone"
  | "refuse-too-late"
  | "refuse-maybe-released"
  | "refuse-open";

export interface DestinationStep {
  record: DestinationRecord;
  actions: DestinationAction[];
}

/** Whatever waits with the VM ends, and what was received of it goes. Both may be done again. */
const removal = ["end-vm", "remove-staging"] as const;

/** One step of the destination. Total: every event in every state has an answer. */
export function destinationStep(state: DestinationState, event: DestinationEvent): DestinationStep {
  const stay = (...actions: DestinationAction[]): DestinationStep => ({ record: state.record, actions });
  const inDoubt = contradicts(state.record, state.witness);
  switch (event.type) {
    case "request":
      return inDoubt ? stay("refuse-doubt") : asked(state, event.request);
    case "never-ran":
      if (inDoubt || state.mode === "copy") return stay("refuse");
      if (state.record !== "ready" && state.record !== "owner") return stay("refuse");
      return { record: "cancelled", actions: ["record-cancelled", ...removal, "send-cancelled"] };
    case "given-up":
      if (inDoubt || state.record !== "receiving") return stay();
      return { record: "cancelled", actions: ["record-cancelled", ...removal] };
    case "restarted":
      return inDoubt ? stay("report-doubt") : restarted(state);
    case "decided":
      return decided(state, event.decision, inDoubt);
  }
}

function asked({ record, mode }: DestinationState, request: DestinationRequest): DestinationStep {
  const stay = (...actions: DestinationAction[]): DestinationStep => ({ record, actions });
  const over = record === "owner" || (record === "closed" && mode === "move");
  const copied = record === "published" || (record === "closed" && mode === "copy");
  /** What is said to one who asks for a step that this record is past, or not yet at. */
  const otherwise = (): DestinationStep => {
    if (record === "cancelled") return stay(...removal, "send-cancelled");
    return stay(record === "none" ? "refuse-unknown" : "refuse");
  };

  switch (request) {
    case "offer":
      if (over) return stay("send-accept-owner");
      if (copied) return stay("send-accept-published");
      switch (record) {
        case "none":
          return { record: "receiving", actions: ["reserve", "record-receiving", "send-accept-receiving"] };
        case "ready":
          // The source has not released, or it would not offer: its files may have changed since.
          return { record: "receiving", actions: ["record-receiving", "send-accept-receiving"] };
        case "receiving":
          return stay("send-accept-receiving");
        default:
          return stay(...removal, "send-accept-cancelled");
      }

    case "seal":
      if (record === "ready") return stay("check-seal", "send-ready");
      return record === "receiving"
        ? { record: "ready", actions: ["check-seal", "record-ready", "send-ready"] }
        : otherwise();

    case "release":
      if (mode === "copy") return stay(record === "none" ? "refuse-unknown" : "refuse");
      if (record === "owner") return stay("publish-files", "run-vm", "send-owned");
      // Closed: what became of the VM since is no more the source's business.
      if (over) return stay("send-owned");
      return record === "ready"
        ? { record: "owner", actions: ["record-owner", "publish-files", "run-vm", "send-owned"] }
        : otherwise();

    case "publish":
      if (mode === "move") return stay(record === "none" ? "refuse-unknown" : "refuse");
      if (copied) return stay("publish-files", "send-published");
      return record === "ready"
        ? { record: "published", actions: ["record-published", "publish-files", "send-published"] }
        : otherwise();

    case "confirm":
      if (record === "owner" || record === "published") {
        return { record: "closed", actions: ["publish-files", "record-closed", "send-closed"] };
      }
      if (record === "closed") return stay("send-closed");
      return stay(record === "none" ? "refuse-unknown" : "refuse");

    case "cancel":
      if (over) return stay("send-owned");
      if (copied) return stay("send-published");
      switch (record) {
        case "none":
          return stay("send-cancelled");
        case "cancelled":
          return stay(...removal, "send-cancelled");
        default:
          return {
            record: "cancelled",
            actions: ["record-cancelled", ...removal, "send-cancelled"],
          };
      }
  }
}

function restarted({ record, program }: DestinationState): DestinationStep {
  const stay = (...actions: DestinationAction[]): DestinationStep => ({ record, actions });
  switch (record) {
    case "owner":
    case "published":
      return stay("publish-files", "run-vm", "report-taken-over");
    case "receiving":
      // The streams of a running VM ended with the process that had them; files are taken up again.
      return program === "files"
        ? stay()
        : { record: "cancelled", actions: ["record-cancelled", ...removal] };
    case "ready":
      return stay("report-waiting");
    default:
      return stay();
  }
}

function decided(state: DestinationState, decision: Decision, inDoubt: boolean): DestinationStep {
  const { record, mode, program, witness } = state;
  const stay = (...actions: DestinationAction[]): DestinationStep => ({ record, actions });
  switch (decision) {
    case "destination":
      if (mode === "copy") return stay("refuse-copy");
      // What lies under the final name was owned before: the record is older than that.
      if (record !== "ready" && record !== "owner" && !(record === "receiving" && witness.published)) {
        return stay("refuse-not-whole");
      }
      if (program === "gone" && !inDoubt) return stay("refuse-gone");
      return {
        record: "owner",
        actions: [
          ...(record === "owner" ? [] : ["record-owner" as const]),
          "publish-files",
          ...(program === "gone" ? [] : ["run-vm" as const]),
          "record-ended",
        ],
      };

    case "source":
    case "cancel":
      if (inDoubt) return stay("refuse-doubt");
      if (record === "owner" && program === "gone") {
        // It may have run here and written to its disks: what is there is kept, under another name.
        return { record: "cancelled", actions: ["record-cancelled", "end-vm", "set-aside"] };
      }
      if (record === "owner" || record === "closed" || record === "published") return stay("refuse-too-late");
      // A VM that is whole may have been released already: then the decision must be said outright.
      if (record === "ready" && mode === "move" && decision === "cancel")
        return stay("refuse-maybe-released");
      return {
        record: "cancelled",
        actions: [...(record === "cancelled" ? [] : ["record-cancelled" as const]), ...removal],
      };

    case "ask":
      return stay(inDoubt ? "refuse-doubt" : "refuse-open");
  }
}
