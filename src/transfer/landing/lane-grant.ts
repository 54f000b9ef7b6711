/** What a lane of the destination receives from the main thread before it may write. */
import type { ImageFormat } from "../../protocol/disk-head.ts";
import type { FinderGrant } from "../reuse/store/block-finder.ts";

/** What a lane of the destination needs to know about its session. */
export interface LaneGrant {
  session: string;
  tagKey: Uint8Array;
  files: GrantedFile[];
  /** True if the files may hold something already, so that zeros must be made. */
  used: boolean;
  /** Where the lane looks for blocks that the source describes; null if it may not describe any. */
  finder: LaneFinder | null;
}

/** A file that a lane may write. */
export interface GrantedFile {
  path: string;
  bytes: number;
  /** Of an image: what it was declared to be, "unknown" if nothing was declared. Absent for other files. */
  image?: ImageFormat | "unknown";
}

/** What a lane looks through, and whether the store's files can share blocks with each other (reflink). */
export type LaneFinder = FinderGrant & { sharesBlocks: boolean };
