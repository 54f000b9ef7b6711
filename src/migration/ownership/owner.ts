/**
 * Who may start a VM, as far as one host knows: derived only here, from the host's record and its other
 * witnesses.
 */
import type { Mode } from "./phases.ts";
import type { DestinationRecord, SourceRecord } from "./records.ts";
import { contradicts, type DestinationWitness } from "./witness.ts";

/**
 * "nobody yet" between the source's release and the destination's OWNED; "in doubt" if the witnesses
 * disagree.
 */
export type Owner = "source" | "destination" | "nobody yet" | "in doubt";

/** What one host knows of a session. */
export type Known =
  | { side: "source"; record: SourceRecord; mode: Mode }
  | { side: "destination"; record: DestinationRecord; mode: Mode; witness: DestinationWitness };

/**
 * Returns who owns the VM of a session, as far as this host can tell. The owner of a copied VM is always the
 * source. Pure.
 */
export function ownerOf(known: Known): Owner {
  if (known.side === "destination" && contradicts(known.record, known.witness)) return "in doubt";
  if (known.mode === "copy") return "source";
  switch (known.record) {
    case "owner":
    case "closed":
    case "confirmed":
      return "destination";
    case "released":
      return "nobody yet";
    case "ready":
      // The source may have released it already; only the source can tell.
      return "nobody yet";
    default:
      return "source";
  }
}

/**
 * True if the source's VM may be started there, by this program or with its consent. To copy a VM takes
 * nothing from the source. Pure.
 */
export function sourceMayRun(record: SourceRecord, mode: Mode): boolean {
  return mode === "copy" || record === "sending" || record === "cancelled";
}

/** True if the destination's VM may be started as the VM itself. Pure. */
export function destinationMayRun(record: DestinationRecord, mode: Mode): boolean {
  return mode === "move" && (record === "owner" || record === "closed");
}
