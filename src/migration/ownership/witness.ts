/**
 * The other two witnesses of a session at the destination, beside its record: what its files say, and what
 * runs. A record can be older than they are, since a journal can be restored from a backup or be lost; what
 * lies under a final name with the session's vm.json cannot: it is put there after `owner` is recorded, and
 * is taken away after `cancelled` is.
 */
import type { DestinationRecord } from "./records.ts";

export interface DestinationWitness {
  /** The store has a folder under its final name whose vm.json says that this session published it. */
  published: boolean;
  /** A program that this session started runs the VM, or has run it: it does not merely wait to be told to. */
  runs: boolean;
}

/** What is there if nothing is. */
export const nothingThere: DestinationWitness = { published: false, runs: false };

/**
 * True if the record says less than the witnesses show: it is older than they are. The session is in doubt
 * then, and nothing of it is destroyed or begun anew on the record's word.
 */
export function contradicts(record: DestinationRecord, { published, runs }: DestinationWitness): boolean {
  switch (record) {
    case "none":
    case "receiving":
    case "ready":
      return published || runs;
    case "cancelled":
      // A removal may have been cut short, but what runs was not given back.
      return runs;
    case "owner":
    case "published":
    case "closed":
      return false;
  }
}
