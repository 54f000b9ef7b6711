/**
 * Events of a session that occur while no link stands: a move is given up, a session makes way for a new one,
 * or a person decides. They are carried out by the process that holds the session's lock. Each step may be
 * repeated, by any process.
 */

import { parseAddressText } from "../../channel/address.ts";
import type { HeartbeatTiming } from "../../channel/control-link.ts";
import type { Identity } from "../../channel/identity.ts";
import type { Way } from "../../channel/transport/made-way.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { releaseMark } from "../../vm/folder/release-mark.ts";
import type { SessionRecord } from "../journal/journal.ts";
import type { SourceAction, SourceEvent } from "../ownership/source-machine.ts";
import { providerOf } from "../providers/providers.ts";
import { tellCancelled } from "./cancellation.ts";
import { SourceSteps, type SourceStepsOptions } from "./source-steps.ts";

export interface LocalOptions extends Omit<SourceStepsOptions, "session" | "departure"> {
  /**
   * This host's identity towards the destination; null for an insecure link, or if nobody is there to unseal
   * it.
   */
  identity: () => Promise<Identity | null>;
  timing?: HeartbeatTiming | undefined;
  /** Makes the way to a destination that has none of itself. */
  way?: Way | undefined;
  /** The destination itself has given the session up: nothing is missed if it cannot be told so. */
  givenUpThere?: boolean | undefined;
}

/**
 * Passes an event to the session's machine, and carries out those actions that need no link; the destination
 * is told if it can be reached. Returns all actions: the caller has to handle the rest (refusals,
 * `ask-destination`). Throws MigrateError "qemu-failed" if the VM cannot be resumed, and then leaves the
 * record as it was.
 */
export async function applyLocally(
  session: string,
  event: SourceEvent,
  options: LocalOptions,
  departure?: SourceStepsOptions["departure"],
): Promise<SourceAction[]> {
  await believeFiles(session, options);
  const steps = new SourceSteps({ ...options, session, departure });
  const actions = steps.step(event);
  for (const action of actions) {
    if (action === "tell-cancelled") await tellDestination(steps.record, options);
    else await steps.perform(action);
  }
  return actions;
}

/**
 * The record may be older than the files: if their marks show that this session released them, it did. Throws
 * MigrateError "in-doubt" if the record is cancelled nevertheless, since the marks are removed before that is
 * recorded.
 */
export async function believeFiles(
  session: string,
  options: Omit<SourceStepsOptions, "session">,
): Promise<void> {
  const steps = new SourceSteps({ ...options, session });
  const { record } = steps;
  if (record.mode === "copy" || (record.state !== "sending" && record.state !== "cancelled")) return;
  const files = providerOf(record).ownFiles(record);
  if (!files.some(({ path }) => releaseMark(path)?.session === session)) return;
  const actions = steps.step({ type: "found-marked" });
  if (actions.includes("refuse")) {
    throw new MigrateError(
      "in-doubt",
      `${record.name} is ${record.state} in the journal, and its files say that they were released: the journal is of another time than they are`,
      { side: "source", hint: `look at both hosts; session ${session.slice(0, 12)}` },
    );
  }
  for (const action of actions) await steps.perform(action);
}

async function tellDestination(record: SessionRecord, options: LocalOptions): Promise<void> {
  const { home, journal, observe, timing } = options;
  const { peer, address, acknowledged, name } = record;
  if (peer === "" || acknowledged) return;
  try {
    const identity = peer === "insecure" ? null : await options.identity();
    if (identity === null && peer !== "insecure") {
      throw new MigrateError("passphrase-wrong", "no key to prove who asks");
    }
    await tellCancelled({
      home,
      journal,
      identity,
      peer,
      address: options.way?.name === address ? (await options.way.open()).address : parseAddressText(address),
      observe,
      timing,
    });
  } catch (thrown) {
    if (options.givenUpThere === true) return;
    observe({
      event: "warning",
      message: `the destination could not be told that the move of ${name} was given up (${asMigrateError(thrown).message}); it gives it up by itself, or hears of it the next time`,
    });
  }
}
