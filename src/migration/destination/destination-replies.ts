/** The messages and errors that the destination sends for those actions that are only answers. */
import type { ControlLink } from "../../channel/control-link.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { Message } from "../../protocol/messages.ts";
import { isJournalFull } from "../journal/journal.ts";
import type { DestinationAction, DestinationRequest } from "../ownership/destination-machine.ts";

/** The session has ended, so this token admits no lane. */
const noLaneToken = "0".repeat(32);

/**
 * Carries out `action` if it is a reply or a refusal; returns false if it is neither. Throws the MigrateError
 * that a refusal sends to the peer. `state` is the session's, for the error's message.
 */
export function reply(action: DestinationAction, link: ControlLink, state: string): boolean {
  switch (action) {
    case "send-accept-owner":
    case "send-accept-published":
    case "send-accept-cancelled": {
      const over = action.slice("send-accept-".length) as "owner" | "published" | "cancelled";
      link.send("accept", { state: over, laneToken: noLaneToken, inventory: false });
      return true;
    }
    case "send-published":
      link.send("published", {});
      return true;
    case "send-closed":
      link.send("closed", {});
      return true;
    case "send-cancelled":
      link.send("cancelled", {});
      return true;
    case "refuse-unknown":
      throw unknownSession();
    case "refuse-doubt":
      throw new MigrateError("in-doubt", "the destination's journal and what lies and runs there disagree", {
        side: "destination",
      });
    case "refuse":
      throw new MigrateError("in-doubt", `the session is ${state} at the destination`, {
        side: "destination",
      });
    default:
      return false;
  }
}

export function unknownSession(): MigrateError {
  return new MigrateError("unknown-session", "the destination has no record of this session", {
    side: "destination",
  });
}

/** What was carried out before the record of a session went that is over. */
export const doneBefore: ReadonlySet<DestinationAction> = new Set([
  "end-vm",
  "remove-staging",
  "publish-files",
  "run-vm",
]);

/**
 * To the source, a journal that cannot be written is the same as a store that cannot: no fault of its own.
 */
export function forSource(error: MigrateError): MigrateError {
  if (error.code !== "home-unusable") return error;
  const [code, what] = isJournalFull(error)
    ? (["no-room", "the destination's disk is full"] as const)
    : (["store-failed", "the destination cannot write its journal"] as const);
  return new MigrateError(code, what, { side: "destination", cause: error });
}

/** What a source may request, by the message that does. */
export const requestByMessage: Partial<Record<Message["name"], DestinationRequest>> = {
  offer: "offer",
  seal: "seal",
  release: "release",
  publish: "publish",
  confirm: "confirm",
  cancel: "cancel",
};
