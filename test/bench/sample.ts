/** One contender moving one input once, measured and checked. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { killChildren, runChild } from "../support/system/child.ts";
import { withDeadline } from "../support/system/deadline.ts";
import { type Contender, endedWell, type Indexing, type Process } from "./contender.ts";
import type { Input } from "./inputs.ts";
import type { Link, LinkName } from "./link.ts";
import { cpuMsOfEnded, MemoryWatches } from "./processes.ts";

export interface SideCost {
  /** User and system time of its processes. */
  cpuMs: number;
  /** The sum of the peaks of its processes. */
  peakBytes: number;
}

export interface Sample {
  round: number;
  input: string;
  link: LinkName;
  contender: string;
  /** Logical bytes of the input. */
  bytes: number;
  /** From the start of the source's process until the destination has every byte. */
  seconds: number;
  source: SideCost;
  /** Absent where one process does it all. */
  destination: SideCost | undefined;
  /** What the destination spent ahead of the clock, where it did; no part of the figures above. */
  indexing: Indexing | undefined;
  /** As the link's device counts, both ways, headers included: right only while nothing else uses it. */
  wireBytes: number;
  /** What the contender itself counted. */
  reportedWireBytes: number | undefined;
}

const deadlineMs = 600_000;

/**
 * Measures one run in a folder that it makes and removes. The destination is up before the clock
 * starts; that the copy is equal is checked after it has stopped.
 * Afterwards no child of this process runs any more (see killChildren).
 * Throws where the contender fails, is not done in 10 minutes, or delivers other bytes.
 */
export async function takeSample(
  contender: Contender,
  input: Input,
  link: Link,
  round: number,
  parent: string,
): Promise<Sample> {
  const folder = join(parent, "run");
  mkdirSync(folder);
  let destination: Process | undefined;
  let source: Process | undefined;
  const watches = new MemoryWatches();
  try {
    const attempt = await contender.prepare(input, folder, link);
    destination = attempt.destination;
    const destinationMemory = destination && watches.watch(destination.pid);
    const wireBefore = await link.wireBytes();
    const begun = performance.now();
    source = attempt.start();
    const sourceMemory = watches.watch(source.pid);
    await withDeadline(endedWell(source, "the source"), deadlineMs, "the end of the source");
    await withDeadline(attempt.arrived(), deadlineMs, "the bytes at the destination");
    const seconds = (performance.now() - begun) / 1000;
    const wireBytes = (await link.wireBytes()) - wireBefore;
    await withDeadline(attempt.finish(), deadlineMs, "the end of the destination");
    const sample: Sample = {
      round,
      input: input.name,
      link: link.name,
      contender: contender.name,
      bytes: input.bytes,
      seconds,
      source: { cpuMs: cpuMsOfEnded(source), peakBytes: sourceMemory.stop() },
      destination: destination &&
        destinationMemory && {
          cpuMs: cpuMsOfEnded(destination) - (attempt.indexing?.cpuMs ?? 0),
          peakBytes: destinationMemory.stop(),
        },
      indexing: attempt.indexing,
      wireBytes,
      reportedWireBytes: attempt.reportedWireBytes?.(),
    };
    if (attempt.arrivedPath !== undefined) await runChild(["cmp", input.path, attempt.arrivedPath]);
    return sample;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const there = destination?.stderr().trim() ?? "";
    throw new Error(
      `${contender.name} on ${input.name} ${link.title}: ${message}${there && `; the destination wrote: ${there}`}`,
    );
  } finally {
    watches.stop();
    // Those too of a contender that did not get ready.
    await killChildren();
    rmSync(folder, { recursive: true, force: true });
  }
}
