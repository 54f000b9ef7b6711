/**
 * `migrate resolve`: settles an open session by a receipt of the other side, by asking it or, if that is impossible, by
 * a person's explicit decision.
 *
 * The ownership machines (ownership/) determine what follows from a decision. This module finds the session
 * and its witnesses, passes the decision to the machine, carries out the actions, and turns refusals into
 * errors. Whether the person has looked at the other host is not checked.
 */

import { loadHostIdentity } from "../../attestation/host-identity.ts";
import { parseAddressText } from "../../channel/address.ts";
import type { Way } from "../../channel/transport/made-way.ts";
import { openHome } from "../../home/home.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { Journal, type SessionRecord } from "../journal/journal.ts";
import type { Decision, SourceAction, SourceEvent } from "../ownership/source-machine.ts";
import { providerOf } from "../providers/providers.ts";
import { OwnWitness } from "../receipts/own-witness.ts";
import { ReceiptKeeper } from "../receipts/receipt-keeper.ts";
import { TpmWitness } from "../receipts/tpm-witness.ts";
import type { Observer } from "../report/events.ts";
import { applyLocally, type LocalOptions } from "../source/apply-locally.ts";
import { lockSession } from "../source/session-lock.ts";
import { Source } from "../source/source.ts";
import { decideAtDestination, type ReleaseProof } from "./decide-at-destination.ts";
import { findSession } from "./find-session.ts";
import { isShown } from "./shown-receipt.ts";
import { type SessionRow, sessionRow } from "./status.ts";

export interface ResolveOptions {
  home: string;
  /** A session's id, or an unambiguous prefix of it. */
  session: string;
  /**
   * A person's decision: who owns the VM, or that the session is given up. If absent, the other side is
   * asked.
   */
  decision?: Exclude<Decision, "ask"> | undefined;
  /** At the destination, with the decision "destination": what shows that the source has released the VM. */
  proof?: ReleaseProof | undefined;
  /** Receipts of the other host that a person brings, as `migrate receipt show` writes them. */
  receipts?: string | undefined;
  insecure: boolean;
  passphrase: () => Promise<string>;
  /** MIGRATE_TPM names the TPM of a host that has attested. */
  env?: Readonly<Record<string, string | undefined>> | undefined;
  retryForMs: number;
  signal: AbortSignal;
  /** Makes the way to a destination that is called so, if one has to be made. */
  wayTo?: ((name: string) => Way | undefined) | undefined;
}

/**
 * Settles the session, and returns its row as the journal has it then. Throws MigrateError: "unknown-session",
 * "usage" if several begin so, "in-doubt" if it is still open, "policy" if the decision would contradict what is
 * known.
 */
export async function resolveSession(options: ResolveOptions, observe: Observer): Promise<SessionRow> {
  const home = openHome(options.home);
  const journal = Journal.open(home);
  try {
    const { session, side, name: vm } = findSession(journal, options.session);
    try {
      const settled = { home, journal, options, observe };
      if (side === "source") await resolveSource(session, settled);
      else await resolveDestination(session, settled);
    } catch (thrown) {
      throw asMigrateError(thrown).within({ session, vm });
    }
    return sessionRow(journal.find(session)!, journal);
  } finally {
    journal.close();
  }
}

interface Resolving {
  home: string;
  journal: Journal;
  options: ResolveOptions;
  observe: Observer;
}

async function resolveDestination(session: string, resolving: Resolving): Promise<void> {
  const { home, journal, options, observe } = resolving;
  const record = journal.find(session)!;
  const { proof, receipts } = options;
  const decision: Decision = options.decision ?? "ask";
  const tpm = TpmWitness.ofHome({ home, journal, env: options.env, observe });
  const signOwned = async () => {
    const { program } = providerOf(record).resident(record, home);
    // Whether a VM that is gone ever ran, the machine was not told.
    if (program === "gone" || !journal.receipts.owesOwned(session)) return;
    try {
      const identity = await loadHostIdentity(home, { passphrase: options.passphrase });
      await new ReceiptKeeper({ home, journal, identity, tpm }).signOwned(session);
    } catch (thrown) {
      const why = asMigrateError(thrown).message;
      observe({ event: "warning", message: `${record.name} is this host's, and no receipt says so: ${why}` });
    }
  };
  const isByReceipt = decision === "ask" && (await isShown(record, receipts, { home, journal, tpm }));
  const settling = isByReceipt ? ({ decision: "release-shown" } as const) : { decision, proof };
  await decideAtDestination(session, settling, { home, journal, signOwned });
  await new OwnWitness({ home, journal }).catchUp();
}

async function resolveSource(session: string, decision: Resolving): Promise<void> {
  const { home, journal, options, observe } = decision;
  const release = lockSession(home, journal.find(session)!);
  try {
    const now = () => Date.now();
    const identity = async () => {
      const insecure = journal.find(session)!.peer === "insecure";
      return insecure ? null : await loadHostIdentity(home, { passphrase: options.passphrase });
    };
    const way = options.wayTo?.(journal.find(session)!.address);
    const local: LocalOptions = { home, journal, identity, observe, now, way };
    // What was read before this process held the lock may be out of date: a send may just have released the
    // VM.
    const { endedAtMs } = journal.find(session)!;
    const isOver = endedAtMs !== null && journal.find(session)!.state === "confirmed";
    if (options.decision === undefined && isOver) return;
    const apply = async (event: SourceEvent) => {
      const actions = await applyLocally(session, event, local);
      const refusal = actions.find((action) => action.startsWith("refuse"));
      if (refusal !== undefined) throw refused(journal.find(session)!, refusal);
      return actions;
    };
    const { receipts, env } = options;
    const tpm = TpmWitness.ofHome({ home, journal, env, observe });
    const { name } = journal.find(session)!;
    const wasSigned = options.decision === "source" && journal.receipts.find(session, "release") !== null;
    const isByReceipt =
      options.decision === undefined &&
      (await isShown(journal.find(session)!, receipts, { home, journal, tpm }));
    if (isByReceipt) await apply({ type: "owned-shown" });
    // Who brings a receipt does so because the two cannot speak.
    const isSettled = isByReceipt && receipts !== undefined;
    const actions = isSettled ? [] : await apply({ type: "decided", decision: options.decision ?? "ask" });
    if (wasSigned) observe({ event: "warning", message: signedBefore(name, session) });
    if (actions.includes("ask-destination")) await ask(session, decision, local);
    // No other host needs to be told: the session has ended here.
    const ended = journal.find(session)!;
    if ((options.decision === "destination" || isSettled) && ended.endedAtMs === null) {
      journal.write("ended", () => journal.update(session, { endedAtMs: now(), updatedAtMs: now() }));
    }
  } finally {
    release();
  }
}

/** The destination, or who has a copy, can take the VM by what was signed, as long as the session is open there. */
function signedBefore(name: string, session: string): string {
  return `this host had signed the release of ${name}: should its destination come back, say migrate resolve ${session.slice(0, 12)} --owner source there before anything else`;
}

/** Resumes the session after its release, and ends it as the destination answers. Throws as `Source.run`. */
async function ask(
  session: string,
  { home, journal, options, observe }: Resolving,
  local: LocalOptions,
): Promise<void> {
  try {
    await new Source({
      home,
      journal,
      session,
      departure: null,
      identity: await local.identity(),
      address: local.way?.address ?? parseAddressText(journal.find(session)!.address),
      way: local.way,
      lanes: 1,
      compression: "off",
      retryForMs: options.retryForMs,
      signal: options.signal,
      observe,
      now: local.now,
    }).run();
  } catch (thrown) {
    const record = journal.find(session)!;
    // The destination gave the VM back: if it ran, it stands still here, and is resumed now.
    if (!providerOf(record).standsStill(record)) throw thrown;
    await applyLocally(session, { type: "given-up" }, local);
  }
}

function refused({ name, state }: SessionRecord, refusal: SourceAction): MigrateError {
  const side = "source";
  switch (refusal) {
    case "refuse-never-released":
      return new MigrateError("policy", `${name} was never released; the destination cannot own it`, {
        side,
        hint: "run migrate send again, or --cancel to give the session up",
      });
    case "refuse-two-owners":
      return new MigrateError(
        "in-doubt",
        `the destination has signed that it owns ${name}, which this host has taken back`,
        { side, hint: "see where it runs, and run it in one place only" },
      );
    case "refuse-being-sent":
      return new MigrateError("in-doubt", `${name} is being sent; this host owns it`, {
        side,
        hint: "run migrate send again to go on, or give it up with --cancel",
      });
    default:
      return new MigrateError("policy", `${name} is ${state}; that cannot be taken back`, { side });
  }
}
