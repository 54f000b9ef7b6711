/**
 * The destination's side of ownership, as a pure function: (state, event) -> (record, actions). Every change
 * of a session's record on the destination is decided here: on the source's requests, a person's decision, a
 * restart, or a move that can no longer be completed.
 *
 * The destination has no state beside the record (records.ts), which is durable, and the two other witnesses
 * (witness.ts): after a crash it answers from these. Every request may be repeated. If the witnesses show
 * more than the record does, the record is not believed: nothing is removed, no program is ended, nothing is
 * begun anew.
 *
 * May the destination's copy be started? In the states owner and closed: yes. A published copy may be started
 * too, but not as the VM that was moved. In every other state: never by this program (owner.ts).
 */
import type { Mode } from "./phases.ts";
import type { DestinationRecord } from "./records.ts";
import type { Decision } from "./source-machine.ts";
import { contradicts, type DestinationWitness } from "./witness.ts";

/** The requests that a source may make about a session. */
export const destinationRequests = ["offer", "seal", "release", "publish", "confirm", "cancel"] as const;
export type DestinationRequest = (typeof destinationRequests)[number];

export type DestinationEvent =
  | { type: "request"; request: DestinationRequest }
  /** The program that was to run the VM is gone, and the VM certainly never ran here and never will. */
  | { type: "never-ran" }
  /** The VM can no longer become whole here, or its source has been away for too long. */
  | { type: "given-up" }
  /** A new process begins, and finds the session as an earlier process left it. */
  | { type: "restarted" }
  /** There is a receipt by which the source has released this very VM; it may be of any age. */
  | { type: "release-shown" }
  /** `proven`: the person has shown what only a release by the source gives, or knowingly does without. */
  | { type: "decided"; decision: Decision; proven?: boolean };

/** What the destination knows of a session. */
export interface DestinationState {
  record: DestinationRecord;
  mode: Mode;
  witness: DestinationWitness;
  /** The program that holds a VM that was moved while it ran; "files" if the VM is only files. */
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
  /** Record that the session has ended here, whether or not the source confirms it later. */
  | "record-ended"
  /** Give the staging folder its final name. Idempotent. */
  | "publish-files"
  /** Resume a running VM here. Idempotent; does nothing if the VM is only files. */
  | "run-vm"
  /** Sign that this host owns the VM, where receipts are given, so that it can be shown to the source. Idempotent. */
  | "sign-owned"
  /** End the program that waits with the VM. Idempotent. */
  | "end-vm"
  | "remove-staging"
  /** Rename the published folder, so that its contents are kept. */
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
  /** Answer that the session is not known here. */
  | "refuse-unknown"
  /** Answer that this request does not fit the session's state. */
  | "refuse"
  /** The witnesses disagree: a person has to look. */
  | "refuse-doubt"
  /** A decision that contradicts what this host knows. */
  | "refuse-copy"
  | "refuse-not-whole"
  | "refuse-gone"
  | "refuse-unproven"
  | "refuse-too-late"
  | "refuse-maybe-released"
  | "refuse-open";

export interface DestinationStep {
  record: DestinationRecord;
  actions: DestinationAction[];
}

/** The program that waits with the VM ends, and what was received is removed. Both are idempotent. */
const removal = ["end-vm", "remove-staging"] as const;

/**
 * One step of the destination. Returns the record's next state, and the actions in the order in which they
 * are to be carried out. Total: every event in every state has an answer. Pure.
 */
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
    case "release-shown":
      return inDoubt ? stay("refuse-doubt") : releaseShown(state);
    case "decided":
      return decided(state, event.decision, inDoubt, event.proven === true);
  }
}

function asked({ record, mode }: DestinationState, request: DestinationRequest): DestinationStep {
  const stay = (...actions: DestinationAction[]): DestinationStep => ({ record, actions });
  const over = record === "owner" || (record === "closed" && mode === "move");
  const copied = record === "published" || (record === "closed" && mode === "copy");
  /** The answer to a request for a step that this record is past, or has not reached. */
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
          // The source has not released the VM, since it still offers it: its files may have changed.
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
      // Closed: what has become of the VM since then no longer concerns the source.
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
      return stay("publish-files", "run-vm", "report-taken-over", "sign-owned");
    case "published":
      return stay("publish-files", "run-vm", "report-taken-over");
    case "receiving":
      // The streams of a running VM ended with the process that held them; the transfer of files can be
      // resumed.
      return program === "files"
        ? stay()
        : { record: "cancelled", actions: ["record-cancelled", ...removal] };
    case "ready":
      return stay("report-waiting");
    default:
      return stay();
  }
}

/** In `ready` it is as good as RELEASE; everywhere else it is late, and changes nothing. */
function releaseShown({ record, mode, program }: DestinationState): DestinationStep {
  const stay = (...actions: DestinationAction[]): DestinationStep => ({ record, actions });
  if (mode === "copy") return stay("refuse-copy");
  if (record === "closed") return stay();
  if (record !== "ready" && record !== "owner") return stay("refuse-not-whole");
  if (program === "gone") return stay("refuse-gone");
  const owned = ["publish-files", "run-vm", "record-ended", "sign-owned"] as const;
  return { record: "owner", actions: [...(record === "owner" ? [] : ["record-owner" as const]), ...owned] };
}

function decided(
  state: DestinationState,
  decision: Decision,
  inDoubt: boolean,
  proven: boolean,
): DestinationStep {
  const { record, mode, program, witness } = state;
  const stay = (...actions: DestinationAction[]): DestinationStep => ({ record, actions });
  switch (decision) {
    case "destination":
      if (mode === "copy") return stay("refuse-copy");
      // A folder under the final name proves that the VM was owned: the record is older than that folder.
      if (record !== "ready" && record !== "owner" && !(record === "receiving" && witness.published)) {
        return stay("refuse-not-whole");
      }
      if (program === "gone" && !inDoubt) return stay("refuse-gone");
      // The source may run it still: a person who has not asked there cannot know.
      if (record === "ready" && !inDoubt && !proven) return stay("refuse-unproven");
      return {
        record: "owner",
        actions: [
          ...(record === "owner" ? [] : ["record-owner" as const]),
          "publish-files",
          ...(program === "gone" ? [] : ["run-vm" as const]),
          "record-ended",
          ...(program === "gone" ? [] : ["sign-owned" as const]),
        ],
      };

    case "source":
    case "cancel":
      if (inDoubt) return stay("refuse-doubt");
      if (record === "owner" && program === "gone") {
        // It may have run here and written to its disks: the folder is kept, under another name.
        return { record: "cancelled", actions: ["record-cancelled", "end-vm", "set-aside"] };
      }
      if (record === "owner" || record === "closed" || record === "published") return stay("refuse-too-late");
      // A VM that is whole may have been released already: then the person must name the owner.
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
