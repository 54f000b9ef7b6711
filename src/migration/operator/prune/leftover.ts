/** Something that this program left on this host and that takes room: what it is, since when, and whether it may go. Pure. */

const leftoverKinds = ["migrated", "staging", "run-folder", "binary", "sessions"] as const;
export type LeftoverKind = (typeof leftoverKinds)[number];

export interface Leftover {
  kind: LeftoverKind;
  /** Its path; of rows of the journal the journal's. */
  path: string;
  /** What it is, if the path does not say: part of a sentence. */
  about?: string;
  /** What it takes on the disk. */
  bytes: number;
  /** Since when nobody needs it, by the wall clock. */
  sinceMs: number;
  /** Why it stays whatever its age, as part of a sentence; absent if it may go. */
  stays?: string;
  /**
   * Takes it away, after one more look. Returns why it stays after all, null if it is gone. Idempotent. Throws as
   * node:fs does.
   */
  remove(): string | null;
}
