/** How sessions look in a table; status, history and resolve share it. */
import type { SessionRow } from "../../migration/operator/status.ts";
import { formatAge, formatBytes, formatPercent } from "../../terminal/format.ts";
import type { Column } from "../../terminal/table.ts";

/** Digits of a fingerprint that fit a table; --json has them all. */
const shortPeer = 19;

/** Digits of a session that commands are given, and show where room is short. */
const shortSession = 12;

/**
 * What the other host has proven, in a word: "-" if nothing was asked of it. Of several attempts the last one counts.
 */
function proofWord({ proofs = [] }: SessionRow): string {
  const last = proofs.at(-1);
  return last === undefined ? "-" : last.allowed ? "yes" : "no";
}

/**
 * `nowMs` is the wall clock's, as the rows' times are. That something was proven is shown where that is so of one of `rows`.
 */
export function sessionColumns(
  nowMs: number,
  ended: boolean,
  rows: readonly SessionRow[],
): Column<SessionRow>[] {
  const signed: Column<SessionRow> = { title: "SIGNED", cell: (row) => row.receipts?.join(",") ?? "" };
  const proven = rows.some(({ proofs }) => proofs !== undefined);
  return [
    { title: "SESSION", cell: (row) => row.session, short: (row) => row.session.slice(0, shortSession) },
    { title: "NAME", cell: (row) => row.name },
    { title: "SIDE", cell: (row) => row.side },
    { title: "MODE", cell: (row) => row.mode },
    { title: "PHASE", cell: (row) => row.phase },
    { title: "STATE", cell: (row) => row.state },
    { title: "OWNER", cell: (row) => row.owner },
    { title: "DONE", cell: (row) => formatPercent(row.doneBytes, row.bytes).trim(), align: "right" },
    { title: "SIZE", cell: (row) => formatBytes(row.bytes), align: "right" },
    ...(rows.some(({ receipts }) => receipts !== undefined) ? [signed] : []),
    { title: "PEER", cell: (row) => row.address || row.peer.slice(0, shortPeer) },
    ...(proven ? [{ title: "PROVEN", cell: proofWord }] : []),
    ended
      ? { title: "ENDED", cell: (row) => formatAge(row.endedAtMs ?? row.updatedAtMs, nowMs) }
      : { title: "BEGAN", cell: (row) => formatAge(row.createdAtMs, nowMs) },
  ];
}
