/**
 * The product's own engine as a profile needs it. This folder may not know `migration/`, so whoever
 * starts a measuring process hands it in.
 */

import type { ProofTime } from "../statistics/attest-samples.ts";

export interface FullServe {
  home: string;
  store: string;
  insecure: boolean;
  /** It proves what it runs, by the TPM that this environment names. */
  attesting?: Record<string, string>;
}

export interface FullServing {
  /** Port on 127.0.0.1. */
  port: number;
  /** For the first send; absent on an insecure one. */
  ticket?: string;
}

export interface FullSend {
  home: string;
  name: string;
  ram?: string;
  disks: string[];
  port: number;
  ticket?: string;
  insecure: boolean;
  /** A move, of which the files are renamed, in place of a copy. */
  move?: boolean;
  /** The destination has to prove what it runs. */
  attests?: boolean;
}

/** A host that proves what it runs. */
export interface FullPeer {
  home: string;
  port: number;
  ticket?: string;
}

export interface FullEngine {
  /** Serves on a free port of this host until `end`. Throws MigrateError. */
  serve(options: FullServe): Promise<FullServing>;
  /** Copies or moves a VM; calls `linked` once the connection stands. Throws MigrateError. */
  send(options: FullSend, linked: () => void): Promise<{ wireBytes: number; proofs: ProofTime[] }>;
  /** Records what the host runs, which has to prove that from then on. Throws MigrateError. */
  record(peer: FullPeer): Promise<void>;
  /** Has it prove that on a connection of its own, as often as a move does. Throws MigrateError. */
  prove(peer: FullPeer): Promise<ProofTime[]>;
  /** Ends what serves. */
  end(): void;
}
