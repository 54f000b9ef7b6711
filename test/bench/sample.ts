/** One contender moving one input once, measured and checked. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { runChild } from "../support/child.ts";
import { withDeadline } from "../support/deadline.ts";
import { type Contender, endedWell, type Process } from "./contender.ts";
import type { Input } from "./inputs.ts";
import { loopbackBytes, MemoryWatch } from "./processes.ts";

export interface SideCost {
  userMs: number;
  systemMs: number;
  /** The sum of the peaks of its processes. */
  peakBytes: number;
}

export interface Sample {
  round: number;
  input: string;
  contender: string;
  /** Logical bytes of the input. */
  bytes: number;
  /** From the start of the source's process until the destination has every byte. */
  seconds: number;
  source: SideCost;
  /** Absent where one process does it all. */
  destination: SideCost | undefined;
  /** Through the loopback device, both ways, headers included: right only while nothing else uses it. */
  loopbackBytes: number;
  /** What the contender itself counted. */
  reportedWireBytes: number | undefined;
}

const deadlineMs = 600_000;

/**
 * Measures one run in a folder that it makes and removes. The destination is up before the clock
 * starts; that the copy is equal is checked after it has stopped.
 * Throws where the contender fails, is not done in 10 minutes, or delivers other bytes.
 */
export async function takeSample(
  contender: Contender,
  input: Input,
  round: number,
  parent: string,
): Promise<Sample> {
  const folder = join(parent, "run");
  mkdirSync(folder);
  let destination: Process | undefined;
  let source: Process | undefined;
  try {
    const attempt = await contender.prepare(input, folder);
    destination = attempt.destination;
    const destinationMemory = destination === undefined ? undefined : new MemoryWatch(destination.pid);
    const loopbackBefore = loopbackBytes();
    const begun = performance.now();
    source = attempt.start();
    const sourceMemory = new MemoryWatch(source.pid);
    await withDeadline(endedWell(source, "the source"), deadlineMs, "the end of the source");
    await withDeadline(attempt.arrived(), deadlineMs, "the bytes at the destination");
    const seconds = (performance.now() - begun) / 1000;
    const loopback = loopbackBytes() - loopbackBefore;
    await withDeadline(attempt.finish(), deadlineMs, "the end of the destination");
    const sample: Sample = {
      round,
      input: input.name,
      contender: contender.name,
      bytes: input.bytes,
      seconds,
      source: costOf(source, sourceMemory.stop()),
      destination:
        destination === undefined || destinationMemory === undefined
          ? undefined
          : costOf(destination, destinationMemory.stop()),
      loopbackBytes: loopback,
      reportedWireBytes: attempt.reportedWireBytes?.(),
    };
    await runChild(["cmp", input.path, attempt.arrivedPath]);
    return sample;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const there = destination?.stderr().trim() ?? "";
    throw new Error(
      `${contender.name} on ${input.name}: ${message}${there && `; the destination wrote: ${there}`}`,
    );
  } finally {
    for (const process of [source, destination]) {
      process?.signal("SIGKILL");
      await process?.exit;
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

function costOf(process: Process, peakBytes: number): SideCost {
  const cpu = process.cpuMs();
  if (cpu === undefined) throw new Error("a process's CPU time is not known before it has ended");
  return { ...cpu, peakBytes };
}
