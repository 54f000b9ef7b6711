/** The messages between the main thread and the Worker that keeps the index. Both are ours. */

/** What a scan has read; all zero if nothing was new. */
export interface ScanSummary {
  files: number;
  /** Blocks with data in these files. */
  blocks: number;
  bytesRead: number;
  /** From the beginning of the scan to its end, pauses and all. */
  ms: number;
}

/** The main thread to the indexer. */
export type ToIndexer =
  | {
      kind: "start";
      database: string;
      store: string;
      /** For an index that has to be made anew. */
      key: Uint8Array;
      quietMs: number;
      /** Time between scans that nobody asks for. */
      everyMs: number;
    }
  | { kind: "scan" }
  | { kind: "pause" }
  | { kind: "resume" }
  | { kind: "stop" };

/** The indexer to the main thread. */
export type FromIndexer =
  /** So many files can be found in the index now. */
  | { kind: "files"; count: number }
  | { kind: "scanned"; summary: ScanSummary }
  /** A scan broke off; the next one begins anew. */
  | { kind: "failed"; message: string }
  | { kind: "stopped" };
