/** A Worker that has bytes admitted by a rate that it shares with others, and says when it is through. */
import { SharedPacer } from "../../../src/channel/shared-pacer.ts";
import { monotonicNs } from "../../../src/platform/clocks.ts";

declare const self: Worker;

export interface PacedWork {
  memory: SharedArrayBuffer;
  slices: number;
}

export interface Paced {
  bytes: number;
  /** The system's clock, as this Worker read it. */
  beganNs: bigint;
  endedNs: bigint;
}

self.onmessage = async ({ data }: MessageEvent<PacedWork>) => {
  const beganNs = monotonicNs();
  const pacer = new SharedPacer(data.memory);
  for (let i = 0; i < data.slices; i++) await pacer.admit(pacer.sliceBytes);
  const bytes = data.slices * pacer.sliceBytes;
  self.postMessage({ bytes, beganNs, endedNs: monotonicNs() } satisfies Paced);
};
