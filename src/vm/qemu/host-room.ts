/** Whether this host has the memory and the processors that a VM is to have, looked at before anything is started. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { argumentsOf } from "../../platform/process-id.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { VmModel } from "./definition/definition.ts";
import { memoryOf, processorsOf } from "./definition/size.ts";
import { hostVms } from "./host-vms.ts";

export interface HostRoom {
  memoryBytes: number;
  processors: number;
}

/** What is free now: the kernel's MemAvailable (proc(5)), less what VMs that came here have not used yet. */
export function hostRoom(): HostRoom {
  const available = kibibytes(readFileSync("/proc/meminfo", "latin1"), "MemAvailable") ?? 0;
  return {
    memoryBytes: Math.max(0, available - promisedBytes()),
    processors: availableParallelism(),
  };
}

/** A VM that arrived has only those pages that held something; the guest may use the others at any time. */
function promisedBytes(): number {
  return hostVms().reduce((sum, { process: { pid }, ramBytes }) => {
    try {
      if (ramBytes === null || !argumentsOf(pid)?.includes("-incoming")) return sum;
      const used = kibibytes(readFileSync(`/proc/${pid}/status`, "latin1"), "VmRSS") ?? 0;
      return sum + Math.max(0, ramBytes - used);
    } catch {
      return sum;
    }
  }, 0);
}

/** A line "name:  123 kB" in bytes. */
function kibibytes(text: string, name: string): number | null {
  const digits = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1];
  return digits === undefined ? null : Number(digits) * 1024;
}

/**
 * Throws MigrateError "policy" if the VM has more memory than is free, or more processors than there are; `where` is
 * what this host is called in its message.
 */
export function checkHostRoom(definition: VmModel, room = hostRoom(), where = "the destination"): void {
  const needs = { memoryBytes: memoryOf(definition), processors: processorsOf(definition) };
  checkRoomFor(needs, room, where);
}

/** The same of a VM of which so much is known. */
export function checkRoomFor(needs: HostRoom, room = hostRoom(), where = "the destination"): void {
  const memory = needs.memoryBytes;
  const mebibytes = (bytes: number) => Math.floor(bytes / 2 ** 20);
  if (memory > room.memoryBytes) {
    throw refusal(
      `the VM has ${mebibytes(memory)} MiB of memory, and ${where} has ${mebibytes(room.memoryBytes)} MiB free`,
      `Free memory on ${where}, or start the VM with less.`,
    );
  }
  const { processors } = needs;
  if (processors > room.processors) {
    throw refusal(
      `the VM has ${processors} processors, and ${where} has ${room.processors}`,
      "Send it to a host that has as many, or start the VM with fewer.",
    );
  }
}

function refusal(message: string, hint: string): MigrateError {
  return new MigrateError("policy", message, { side: "destination", hint });
}
