/**
 * What a host durably knows of a session's ownership: the states of its record, and the edges between them.
 * The journal takes these edges and no others (journal/journal.ts), so what the exploration proves about
 * them holds for every process that writes one.
 *
 *   source        sending ──▶ released ──▶ confirmed
 *                    └────────────┴──────▶ cancelled           a copy: sending ──▶ confirmed, cancelled ──▶ confirmed
 *   destination   receiving ⇄ ready ──▶ owner ──▶ closed       a copy: ready ──▶ published ──▶ closed
 *                    └────────────┴────────┴────▶ cancelled
 */
import type { Mode } from "./phases.ts";

export type SourceRecord = "sending" | "released" | "confirmed" | "cancelled";

export type DestinationRecord =
  | "none"
  | "receiving"
  | "ready"
  | "owner"
  | "published"
  | "closed"
  | "cancelled";

/**
 * One step of a record, decided on the state `from`: it is written only if the record is still in that state.
 */
export type Edge =
  | { side: "source"; from: SourceRecord; to: SourceRecord }
  | { side: "destination"; from: DestinationRecord; to: DestinationRecord };

const sourceEdges: Readonly<Record<Mode, ReadonlySet<string>>> = {
  move: new Set([
    "sending>released",
    "sending>cancelled",
    "released>confirmed",
    // The destination gives the VM back, or a person does who knows that the destination will never own it.
    "released>cancelled",
  ]),
  copy: new Set([
    "sending>confirmed",
    "sending>cancelled",
    // The cancellation arrived after the copy had been published.
    "cancelled>confirmed",
  ]),
};

const destinationEdges: Readonly<Record<Mode, ReadonlySet<string>>> = {
  move: new Set([
    "none>receiving",
    "receiving>ready",
    // The source offers again: its files may have changed since.
    "ready>receiving",
    "ready>owner",
    "owner>closed",
    "receiving>cancelled",
    "ready>cancelled",
    // A running VM that never ran here is given back to the source.
    "owner>cancelled",
    // The store holds what this session published: the record is older than that, and catches up.
    "receiving>owner",
  ]),
  copy: new Set([
    "none>receiving",
    "receiving>ready",
    "ready>receiving",
    "ready>published",
    "published>closed",
    "receiving>cancelled",
    "ready>cancelled",
  ]),
};

/** True if a session of this mode may take the step. Pure. */
export function isEdge({ side, from, to }: Edge, mode: Mode): boolean {
  return (side === "source" ? sourceEdges : destinationEdges)[mode].has(`${from}>${to}`);
}
