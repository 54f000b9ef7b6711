/** What `migrate profile --attest` measures, as it is printed with --json. Pure. */

/** The moments of a move at which a destination proves what it runs. */
export type ProofMoment = "offer" | "start" | "release";

export interface ProofTime {
  moment: ProofMoment;
  /** From the question to the judgement, at the host that asks. */
  wallMs: number;
}

/** One move over TLS, with proofs or without. */
export interface MoveSample {
  attested: boolean;
  totalMs: number;
  sourceCpuMs: number;
  destinationCpuMs: number;
  /** CPU time of the process that is the TPM; absent where there is none, or it cannot be told. */
  tpmCpuMs?: number;
  /** None without attestation. A VM that is suspended has no START. */
  proofs: ProofTime[];
}

/** The three proofs of a move, one behind the other on one connection, and nothing else. */
export interface ProofSample {
  proofs: ProofTime[];
  sourceCpuMs: number;
  /** Absent of another host's. */
  destinationCpuMs?: number;
  tpmCpuMs?: number;
}

export interface AttestCost {
  startedAt: string;
  seed: number;
  environment: { cpu: string; cores: number; kernel: string; bun: string; migrate: string };
  /** "loopback", or the host that was asked. */
  link: string;
  /** What the TPM is, as the end of a sentence. */
  tpm: string;
  /** Of the VM that was moved; 0 if none was. */
  ramBytes: number;
  moves: MoveSample[];
  proofs: ProofSample[];
}
