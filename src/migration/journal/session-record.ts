/** What this host durably knows of a session. */
import type { ImageFormat } from "../../protocol/disk-head.ts";
import type { Side } from "../../protocol/errors.ts";
import type { FileKind } from "../../protocol/offer.ts";
import type { Mode } from "../ownership/phases.ts";
import type { DestinationRecord, SourceRecord } from "../ownership/records.ts";

export interface JournalFile {
  kind: FileKind;
  /** Name at the destination, without folder. */
  name: string;
  bytes: number;
  /** What a disk or a boot file was declared to be; absent if its source, or an earlier version, did not. */
  format?: ImageFormat;
  /** Destination only: bytes of it that will take room, as the offer says; version 0.1.0 did not keep it. */
  allocatedBytes?: number;
  /** Once sealed: the file's digest under the session's tag key. */
  digest?: string;
  /** Source only: the file's path when it was sent. */
  path?: string;
  /** Source only: recognises the file under another name (vm/folder/file-identity.ts). */
  identity?: string;
}

export interface SessionRecord {
  session: string;
  side: Side;
  name: string;
  /** The VM's own id, which stays the same through all moves. */
  vm: string;
  mode: Mode;
  /** Fingerprint of the other side, or "insecure". */
  peer: string;
  /** Source: host:port of the destination. Destination: the address from which the source connected. */
  address: string;
  state: SourceRecord | DestinationRecord;
  phase: string;
  attempt: number;
  /** Hex; the key of the tags that compare both sides' chunks, for this session alone. */
  tagKey: string;
  files: JournalFile[];
  /** The VM's folder at the source, if it has one. */
  folder: string | null;
  store: string | null;
  after: "keep" | "rename" | "delete" | "copy";
  digest: string | null;
  bytes: number;
  doneBytes: number;
  wireBytes: number;
  /** Name of the provider that moves the VM (migration/providers). */
  provider: string;
  /**
   * What the provider needs to end the migration after this process has died; only the provider reads it.
   * Column `machine`.
   */
  kept: object | null;
  /**
   * Source: the code that is told at the release (release-code.ts). Destination: its hash, from the offer. Null if the
   * session was begun by an earlier version.
   */
  release: string | null;
  /** True once the files have their final name (destination), or nothing is left to do to the VM (source). */
  settled: boolean;
  /** Source: true once the destination knows that the session is cancelled. */
  acknowledged: boolean;
  createdAtMs: number;
  updatedAtMs: number;
  endedAtMs: number | null;
}
