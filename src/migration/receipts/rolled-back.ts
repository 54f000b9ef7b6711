/** The errors about a host that is not as far any more as it was: its journal, or all of it, came from a backup. Pure. */
import { MigrateError, type Side } from "../../protocol/errors.ts";
import type { SessionRecord } from "../journal/session-record.ts";

type Open = Pick<SessionRecord, "name" | "session">;

/** Sessions that a hint names. */
const mostNamed = 5;

function lookAt(open: readonly Open[]): string {
  const named = open.slice(0, mostNamed).map(({ name, session }) => `${name} (${session.slice(0, 12)})`);
  const more = open.length > mostNamed ? ` and ${open.length - mostNamed} more` : "";
  const inDoubt = named.length === 0 ? "" : `; in doubt are ${named.join(", ")}${more}`;
  return `VMs that it has may have moved on since${inDoubt}. See where each of them runs, then say migrate receipt restored --yes here`;
}

/** A peer has seen more of this host, which is the `side`, than its journal knows. `open` are the sessions that have not ended. */
export function behindPeer(
  side: Side,
  { generation, claimed }: { generation: number; claimed: number },
  open: readonly Open[],
): MigrateError {
  return behind(side, `what the ${other(side)} has seen of it (${generation} there, ${claimed} seen)`, open);
}

/** The witness outside of this host's journal is ahead of it. */
export function behindWitness(side: Side, open: readonly Open[]): MigrateError {
  return behind(side, "its own witness beside it", open);
}

/** This host's TPM has counted more than its journal has recorded. */
export function behindTpm(side: Side, open: readonly Open[]): MigrateError {
  return behind(side, "the counter in its TPM", open);
}

function behind(side: Side, what: string, open: readonly Open[]): MigrateError {
  return new MigrateError("in-doubt", `the ${side}'s journal is older than ${what}: it was restored`, {
    side,
    hint: lookAt(open),
  });
}

/** This host's TPM has counted less than its journal has recorded, or nothing. */
export function lostTpm(side: Side, open: readonly Open[]): MigrateError {
  return new MigrateError(
    "in-doubt",
    `the ${side}'s TPM does not have the count that its journal knows: it was cleared, or is another one`,
    // Who restores a host may clear its TPM as well, and then nothing else tells.
    { side, hint: `nothing shows whether the journal was restored with that. ${lookAt(open)}` },
  );
}

/** The peer of this host, which is the `side`, is less far than it was. */
export function peerBehind(side: Side, peer: string, shows: number, saw: number): MigrateError {
  return new MigrateError(
    "in-doubt",
    `the ${other(side)} is not as far as it was (${shows} now, ${saw} seen): it was restored`,
    {
      side: other(side),
      hint: `VMs that it has may have moved on since: look there, then say migrate receipt restored --yes there. If it was set up anew, say migrate receipt forget ${peer} here`,
    },
  );
}

/** The peer of this host, which is the `side`, gave receipts, and does not any more. */
export function fellSilent(side: Side, peer: string): MigrateError {
  return new MigrateError("policy", `the ${other(side)} has given receipts before, and does not now`, {
    side: other(side),
    hint: `an earlier version of migrate may run there: bring it up to date. To do without its receipts, say migrate receipt forget ${peer} here`,
  });
}

function other(side: Side): Side {
  return side === "source" ? "destination" : "source";
}
