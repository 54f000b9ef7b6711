/**
 * A place on this host where the bytes of one disk or file of a VM land. What differs between a file of the store
 * and another kind of place (a block device) is behind this; staging, the lanes and the programs that open the
 * disk know its path and no more.
 */
export interface DiskPlace {
  /** Where it is opened; a lane writes there, and reads what others repeat, at any offset below its size. */
  readonly path: string;
  /**
   * Makes it ready for `bytes` bytes; what lies there already stays. Returns true if something lay there: zeros
   * have to be written then. Throws as node:fs does; ELOOP for a link that somebody else put there.
   */
  prepare(bytes: number): boolean;
  /** Its size in bytes; null if it is gone. */
  size(): number | null;
  /** Bytes that it takes on the disk. */
  allocatedBytes(): number;
  /** Changes whenever somebody writes to it, replaces it or takes it away (inode(7): ctime). */
  stamp(): string;
  /** Every byte is on the disk when this resolves (fsync(2)). */
  sync(): Promise<void>;
  /** What is read next comes from the disk, of what is there. Throws as node:fs does. */
  dropFromMemory(): void;
  /** The VM has its final name, and its folder is `folder`. Idempotent. */
  publish(folder: string): void;
  /** What was received is worth nothing any more. Idempotent. */
  remove(): void;
}
