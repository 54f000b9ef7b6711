/** The files that a source reads while it sends them; how they are kept from changing differs. */
export interface OpenFiles {
  /** The descriptor of the VM's file `index`; read by position, since others read through it too. */
  fd(index: number): number;
  /** The size of the VM's file `index` in bytes, as it was when it was last looked at. */
  bytes(index: number): number;
  /** Bytes that it occupied on this host's disk at that time. */
  allocatedBytes(index: number): number;
  /** Throws MigrateError "source-changed" if a file is not what it was when it was last looked at. */
  verify(): void;
  close(): void;
}
