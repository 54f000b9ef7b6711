/** The two sides that a profile measures, whichever engine and wherever the destination is. */
import type { SuiteName } from "../statistics/samples.ts";
import type { SendingFile } from "./sending-lane.ts";
import type { RunFigures } from "./thesis-source.ts";

export interface ProfiledFile extends SendingFile {
  kind: "ram" | "disk";
}

export interface Sides {
  /** Nanoseconds that a reading of the source's CPU clock costs. */
  readonly clockCostNs: number;
  /** "loopback", or the address that is measured to. */
  readonly link: string;
  /** Moves the files once. Throws the MigrateError that ended it; then the sides are of no use any more. */
  run(suite: SuiteName, files: readonly ProfiledFile[]): Promise<RunFigures>;
  /** Ends the processes. Harmless when it was done already. */
  close(): Promise<void>;
}
