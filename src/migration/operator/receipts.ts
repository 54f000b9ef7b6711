/** What `migrate receipt` does: the receipts that this host has, those in a file, and a host that was restored. */

import { parseFingerprint } from "../../channel/fingerprint.ts";
import { openHome } from "../../home/home.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { Journal } from "../journal/journal.ts";
import type { StoredReceipt } from "../journal/receipt-table.ts";
import { OwnWitness } from "../receipts/own-witness.ts";
import { parseReceipts } from "../receipts/receipt-file.ts";
import { behindPeer } from "../receipts/rolled-back.ts";
import { requireSigned } from "../receipts/signature.ts";
import { TpmWitness } from "../receipts/tpm-witness.ts";
import type { Observer } from "../report/events.ts";
import { findSession } from "./find-session.ts";

/**
 * The receipts of a session, and the name of its VM. Throws MigrateError "unknown-session" and "usage" as `findSession`,
 * "policy" if the session has none.
 */
export function receiptsOf(path: string, prefix: string): { name: string; receipts: StoredReceipt[] } {
  return withJournal(path, (journal) => {
    const { session, name, state, peer } = findSession(journal, prefix);
    const receipts = journal.receipts.of(session);
    if (receipts.length > 0) return { name, receipts };
    throw new MigrateError(
      "policy",
      `this host has no receipts of this session of ${name}, which is ${state}`,
      {
        hint:
          peer === "insecure"
            ? "on an insecure link nothing is signed"
            : "they come with READY, RELEASE and OWNED of a move, and go if it is cancelled",
      },
    );
  });
}

export interface CheckedReceipt {
  receipt: StoredReceipt;
  /** What is wrong with it; undefined if it is signed by the host that it names. */
  fault?: string;
}

/** What there is in a text of receipts. Needs no home. Throws MigrateError "file-unusable". */
export function checkReceipts(text: string): CheckedReceipt[] {
  return parseReceipts(text).map((receipt) => {
    try {
      requireSigned(receipt);
      return { receipt };
    } catch (thrown) {
      return { receipt, fault: asMigrateError(thrown).message };
    }
  });
}

/** Forgets how far a peer was. Throws MigrateError "usage" for what is no fingerprint, "policy" if nothing is known of it. */
export function forgetPeer(path: string, text: string): string {
  const peer = parseFingerprint(text);
  if (peer === null) throw new MigrateError("usage", `"${text}" is no fingerprint`);
  return withJournal(path, (journal) => {
    if (journal.write("forgotten", ({ receipts }) => receipts.forgetPeer(peer))) return peer;
    throw new MigrateError("policy", "this host knows of no receipt of that host", {
      hint: "migrate trust list shows the fingerprints of the hosts that it knows",
    });
  });
}

/** What is to be done if something shows that this host's journal was restored; null if nothing does. Throws as `Journal.open`. */
export async function whatIfRestored(path: string): Promise<string | null> {
  const home = openHome(path);
  const journal = Journal.open(home);
  try {
    const { receipts } = journal;
    const behind = await new OwnWitness({ home, journal }).require("source").then(() => null, asMigrateError);
    if (behind !== null) return behind.hint ?? behind.message;
    const [{ generation }, claimed] = [receipts.own(), receipts.claimed()];
    return claimed > generation ? behindPeer("source", { generation, claimed }, journal.open()).hint! : null;
  } finally {
    journal.close();
  }
}

/** As `OwnWitness.settle`; the TPM of a host that has attested is settled as well. */
export async function settleRestored(
  path: string,
  env: Readonly<Record<string, string | undefined>>,
  observe: Observer,
): Promise<number> {
  const home = openHome(path);
  const journal = Journal.open(home);
  try {
    return await new OwnWitness({
      ...{ home, journal },
      tpm: TpmWitness.ofHome({ home, journal, env, observe }),
    }).settle();
  } finally {
    journal.close();
  }
}

function withJournal<T>(path: string, work: (journal: Journal) => T): T {
  const journal = Journal.open(openHome(path));
  try {
    return work(journal);
  } finally {
    journal.close();
  }
}
