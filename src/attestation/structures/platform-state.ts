/**
 * What a platform has shown of its state: register values that its TPM signed, and the logs that explain them. Types
 * alone; everything in them that is not in the quote is a claim until it was replayed against the registers. Pure.
 */

/** The banks of registers that are asked for: TPM 2.0 Library Part 2, 6.3, TPM_ALG_ID. */
export const banks = ["sha256", "sha384"] as const;
export type Bank = (typeof banks)[number];

/** Registers of one bank: each number from 0 to 23, once, in order. */
export interface PcrSelection {
  bank: Bank;
  registers: readonly number[];
}

/** The clock of a TPM as a quote has it (Part 2, 10.11, TPMS_CLOCK_INFO). */
export interface TpmClock {
  /** Milliseconds for which the TPM has had power since it was last cleared. */
  clockMs: number;
  /** Starts of the platform, and resumes of it, as the TPM counts them. */
  resetCount: number;
  restartCount: number;
  /** False if the clock may have gone back. */
  safe: boolean;
}

export interface PlatformState {
  bank: Bank;
  /** The registers that the quote is over, by number; lower-case hex. */
  registers: ReadonlyMap<number, string>;
  clock: TpmClock;
  /** The version that the TPM's maker gave its firmware, as 16 hex digits. */
  firmwareVersion: string;
  /** The firmware's event log (TCG PC Client Platform Firmware Profile), as the kernel gives it; null if there is none. */
  eventLog: Buffer | null;
  /** IMA's list of measurements in its binary form; null if there is none. */
  imaLog: Buffer | null;
}
