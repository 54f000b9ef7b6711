/**
 * What is asked for by Buffer.alloc and its kin, so that a test can say how much room something takes
 * without looking at the memory of a whole process. Undone by mock.restore.
 */
import { spyOn } from "bun:test";

export interface Allocations {
  /** Forgets what was asked for so far. */
  begin: () => void;
  /** Bytes of the largest single buffer. */
  largest: () => number;
  /** Bytes of all of them. */
  sum: () => number;
}

export function allocations(): Allocations {
  let largest = 0;
  let sum = 0;
  for (const way of ["alloc", "allocUnsafe", "allocUnsafeSlow"] as const) {
    const real = Buffer[way];
    spyOn(Buffer, way).mockImplementation((bytes: number, ...rest: unknown[]) => {
      largest = Math.max(largest, bytes);
      sum += bytes;
      return (real as (bytes: number, ...rest: unknown[]) => Buffer<ArrayBuffer>)(bytes, ...rest);
    });
  }
  return {
    begin: () => {
      largest = 0;
      sum = 0;
    },
    largest: () => largest,
    sum: () => sum,
  };
}
