/** What a lane of the destination receives from the main thread before it may write. */
import type { FinderGrant } from "../reuse/store/block-finder.ts";

/** What a lane of the destination needs to know about its session. */
export interface LaneGrant {
  session: string;
  tagKey: Uint8Array;
  files: { path: string; bytes: number }[];
  /** True if the files may hold something already, so that zeros must be made. */
  used: boolean;
  /** Where the lane looks for blocks that the source describes; null if it may not describe any. */
  finder: LaneFinder | null;
}

/**
 * What a lane looks through, whether the store's files can share blocks with each other (reflink), and what its
 * source may guess in vain (MissBudget).
 */
export type LaneFinder = FinderGrant & { sharesBlocks: boolean; misses: SharedArrayBuffer };
