/**
 * The two other witnesses of a session at the destination, beside its record: the files in the store, and the
 * programs that run. A record can be older than they are, since a journal can be restored from a backup or be
 * lost. A folder under the VM's final name with the session's vm.json cannot: it is put there after `owner`
 * is recorded, and removed after `cancelled` is.
 */
import type { DestinationRecord } from "./records.ts";

export interface DestinationWitness {
  /** The store has a folder under the VM's final name, and its vm.json names this session. */
  published: boolean;
  /**
   * A program that this session started runs the VM, or has run it; a program that still waits does not
   * count.
   */
  runs: boolean;
}

/** The witnesses if there is neither a folder nor a program. */
export const nothingThere: DestinationWitness = { published: false, runs: false };

/**
 * True if the witnesses show more than the record tells: the record is older than they are. The session is in
 * doubt then, and on the record alone nothing of it is removed or begun anew. Pure.
 */
export function contradicts(record: DestinationRecord, { published, runs }: DestinationWitness): boolean {
  switch (record) {
    case "none":
    case "receiving":
    case "ready":
      return published || runs;
    case "cancelled":
      // A folder may be left by a removal that was interrupted; a VM that runs was never given back.
      return runs;
    case "owner":
    case "published":
    case "closed":
      return false;
  }
}
