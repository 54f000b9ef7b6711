/** Answers a source's questions, which change nothing: a source learns of its own sessions only. */
import { MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import type { Message, RemoteSession, WireState } from "../../protocol/messages.ts";
import type { SessionSummary } from "../journal/session-summaries.ts";
import { type AskedContext, answerTo } from "./asked-offer.ts";
import type { Asker } from "./peers/asker.ts";

/** Answers QUERY, LIST and ASK. Throws MigrateError "protocol" for any other message. */
export async function answerInquiry(context: AskedContext, asker: Asker, message: Message): Promise<void> {
  const { journal } = context;
  const { link, peer } = asker;
  switch (message.name) {
    case "query": {
      const { session } = message.body;
      const record = journal.find(session);
      const known = record?.side === "destination" ? record : journal.findEnded(session);
      const state = known?.peer === peer ? (known.state as WireState) : "unknown";
      link.send("state", { session, state });
      break;
    }
    case "list":
      link.send("sessions", { rows: journal.ofPeer("destination", peer, limits.sessionRows).map(rowOf) });
      break;
    case "ask":
      // A source whose trust has ended may still end what it began; it learns nothing new of this host.
      context.sources?.requireTrusted(peer);
      link.send("answer", await answerTo(message.body, asker, context));
      break;
    default:
      throw new MigrateError("protocol", `a ${message.name} message is not expected here`);
  }
}

function rowOf(record: SessionSummary): RemoteSession {
  const { session, name, mode, state, phase, bytes, doneBytes, createdAtMs, updatedAtMs, endedAtMs } = record;
  return {
    session,
    name,
    mode,
    state: state as WireState,
    phase,
    bytes,
    doneBytes,
    createdAtMs,
    updatedAtMs,
    ...(endedAtMs === null ? {} : { endedAtMs }),
  };
}
