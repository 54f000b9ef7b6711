/** Who may start a VM, as far as one host knows: derived here, once, from its record and its other witnesses. */
import type { Mode } from "./phases.ts";
import type { DestinationRecord, SourceRecord } from "./records.ts";
import { contradicts, type DestinationWitness } from "./witness.ts";

/** "nobody yet" between the source's release and the destination's OWNED; "in doubt" if the witnesses disagree. */
export type Owner = "source" | "destination" | "nobody yet" | "in doubt";

/** What one host has of a session. */
export type Known =
  | { side: "source"; record: SourceRecord; mode: Mode }
  | { side: "destination"; record: DestinationRecord; mode: Mode; witness: DestinationWitness };

/** Who owns the VM of a session, as far as this host can tell. A copy's owner is the source, always. */
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
      // The source may have released it already; only it can tell.
      return "nobody yet";
    default:
      return "source";
  }
}

/** True if the source's copy may be started there, by this program or with its consent. A copy takes nothing from the source. */
export function sourceMayRun(record: SourceRecord, mode: Mode): boolean {
  return mode === "copy" || record === "sending" || record === "cancelled";
}

/** True if the destination's copy may be started as the VM itself. */
export function destinationMayRun(record: DestinationRecord, mode: Mode): boolean {
  return mode === "move" && (record === "owner" || record === "closed");
}
