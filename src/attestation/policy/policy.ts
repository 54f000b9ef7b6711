/** What one host must prove of its state before a VM moves there: the content of a policy file. Types alone. Pure. */
import type { Bank } from "../structures/platform-state.ts";

/** Something that was measured: its digest proves it, the words are what the log said when it was recorded. */
export interface KnownEvent {
  /** Lower-case hex, of the policy's bank. */
  digest: string;
  words: string;
}

/** A file's content that IMA has measured. */
export interface KnownFile {
  /** As "sha256:" and hex, of whichever algorithm IMA uses. */
  digest: string;
  /** What a person calls it: one word, as migrate, qemu, swtpm. */
  name: string;
  path: string;
}

export type RegisterRule =
  | {
      kind: "value";
      /** One of these, in lower-case hex of the bank; at least one. */
      values: readonly string[];
      /**
       * What had been measured when it was recorded, in order: not judged, but compared, so that a difference can be said in
       * words. Empty if no log explained the value.
       */
      seen: readonly KnownEvent[];
    }
  | {
      kind: "events";
      /** Each must have been measured at least once. */
      required: readonly KnownEvent[];
      /** These may have been measured too; nothing else may. */
      allowed: readonly KnownEvent[];
    }
  | {
      kind: "ima";
      /** Each must be in the part of the list that the register proves. */
      required: readonly KnownFile[];
      /** A file at the path of one of these or of the required ones has a digest of these or of those, and no other. */
      allowed: readonly KnownFile[];
    }
  /** Known and left unjudged, on purpose. */
  | { kind: "ignore"; why: string };

export interface HostKeys {
  endorsementKey: {
    /** SHA-256 of its public area (TPMT_PUBLIC), lower-case hex. */
    digest: string;
    /** The certificate that the TPM had of its maker, and whether its chain led to a root that a person gave. */
    certificate: { issuer: string; chainChecked: boolean } | null;
  };
  /** The attestation key's public area (TPMT_PUBLIC): its Name can be computed from it. */
  attestationKey: Buffer;
  /** Whether the key of the host's TLS certificate was certified to be of that TPM. */
  tlsKeyInTpm: boolean;
}

export interface Policy extends HostKeys {
  /** The host that it is about: "sha256:" and 64 hex digits, and the name by which a person knows it. */
  host: string;
  name: string;
  /** From 1; may not go back. */
  version: number;
  writtenBy: string;
  /** ISO 8601, UTC, whole seconds: 2026-11-30T22:00:00Z. */
  writtenAt: string;
  bank: Bank;
  /** By number, in order. */
  registers: ReadonlyMap<number, RegisterRule>;
}
