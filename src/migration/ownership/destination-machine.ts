/**
 * The destination's side of ownership, as a pure function: (record, message) -> (record, actions).
 *
 * The destination has no state of its own beside the record, which is durable: whatever it is asked
 * after a crash, it answers from there. Every message may come again.
 *
 *   none ──▶ receiving ⇄ ready ──▶ owner ──▶ closed       a move
 *                │         │         │
 *                │         ├─────▶ published ──▶ closed    a copy
 *                └─────────┴─────────┴──▶ cancelled        from owner: a running VM that never ran here
 *
 * May the destination's copy be started?  owner, closed: yes (a copy's published, too, under the
 * copy's own account). Everything else: never by us.
 */
import type { Mode } from "./phases.ts";

export type DestinationRecord =
  | "none"
  | "receiving"
  | "ready"
  | "owner"
  | "published"
  | "closed"
  | "cancelled";

/** What the source may ask of a session. */
export const destinationRequests = ["offer", "seal", "release", "publish", "confirm", "cancel"] as const;
export type DestinationRequest = (typeof destinationRequests)[number];

export type DestinationAction =
  /** Check name, room and limits, reserve the name, make the staging folder. */
  | "reserve"
  /** Sync every byte and compare the digest; only then go on with the actions that follow. */
  | "check-seal"
  | "record-receiving"
  | "record-ready"
  | "record-owner"
  | "record-published"
  | "record-closed"
  | "record-cancelled"
  /** Give the staging folder its final name. Idempotent. */
  | "publish-files"
  /** Let a running VM go on here. Idempotent; nothing where the VM is files alone. */
  | "run-vm"
  | "remove-staging"
  | "send-accept-receiving"
  | "send-accept-owner"
  | "send-accept-published"
  | "send-accept-cancelled"
  | "send-ready"
  | "send-owned"
  | "send-published"
  | "send-closed"
  | "send-cancelled"
  /** Say that the session is not known here. */
  | "refuse-unknown"
  /** Say that this cannot be asked in this state. */
  | "refuse";

export interface DestinationStep {
  record: DestinationRecord;
  actions: DestinationAction[];
}

/** True where this host may start the destination's copy as the VM itself. */
export function destinationMayRun(record: DestinationRecord, mode: Mode): boolean {
  return mode === "move" && (record === "owner" || record === "closed");
}

/** One step of the destination. Total: every request in every record has an answer. */
export function destinationStep(
  record: DestinationRecord,
  mode: Mode,
  request: DestinationRequest,
): DestinationStep {
  const stay = (...actions: DestinationAction[]): DestinationStep => ({ record, actions });
  const over = record === "owner" || (record === "closed" && mode === "move");
  const copied = record === "published" || (record === "closed" && mode === "copy");

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
          return stay("remove-staging", "send-accept-cancelled");
      }

    case "seal":
      switch (record) {
        case "receiving":
          return { record: "ready", actions: ["check-seal", "record-ready", "send-ready"] };
        case "ready":
          return stay("check-seal", "send-ready");
        case "cancelled":
          return stay("remove-staging", "send-cancelled");
        case "none":
          return stay("refuse-unknown");
        default:
          return stay("refuse");
      }

    case "release":
      if (mode === "copy") return stay(record === "none" ? "refuse-unknown" : "refuse");
      if (record === "owner") return stay("publish-files", "run-vm", "send-owned");
      // Closed: what became of the VM since is no more the source's business.
      if (over) return stay("send-owned");
      switch (record) {
        case "ready":
          return { record: "owner", actions: ["record-owner", "publish-files", "run-vm", "send-owned"] };
        case "cancelled":
          return stay("remove-staging", "send-cancelled");
        case "none":
          return stay("refuse-unknown");
        default:
          return stay("refuse");
      }

    case "publish":
      if (mode === "move") return stay(record === "none" ? "refuse-unknown" : "refuse");
      if (copied) return stay("publish-files", "send-published");
      switch (record) {
        case "ready":
          return { record: "published", actions: ["record-published", "publish-files", "send-published"] };
        case "cancelled":
          return stay("remove-staging", "send-cancelled");
        case "none":
          return stay("refuse-unknown");
        default:
          return stay("refuse");
      }

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
          return stay("remove-staging", "send-cancelled");
        default:
          return { record: "cancelled", actions: ["record-cancelled", "remove-staging", "send-cancelled"] };
      }
  }
}

/**
 * What comes in place of the rest of a RELEASE where the running VM that was received certainly never ran
 * here and never will, its QEMU being gone: it is the source's again. Not for one that may have run.
 */
export function giveBack(record: DestinationRecord, mode: Mode): DestinationStep {
  if (mode === "copy" || (record !== "ready" && record !== "owner")) return { record, actions: ["refuse"] };
  return { record: "cancelled", actions: ["record-cancelled", "remove-staging", "send-cancelled"] };
}
