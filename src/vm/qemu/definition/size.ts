/** How much of a host a VM takes: memory and processors, by its options -m, -object and -smp (qemu(1)). Pure. */
import { ramBytesOf } from "./machine.ts";
import type { QemuDefinition } from "./model.ts";
import { readPairs, valueIn } from "./option-syntax.ts";

/** Values of an option that goes as it is. */
function valuesOf(definition: QemuDefinition, option: string): string[] {
  return definition.parts.flatMap((part) =>
    part.kind === "plain" && part.argv[0] === option ? [part.argv[1] ?? ""] : [],
  );
}

/**
 * Bytes of RAM that QEMU may have for the guest: that of -m, or of all memory backends together if that is more.
 * What can be plugged in later (maxmem) is not in it.
 */
export function memoryOf(definition: QemuDefinition): number {
  const backends = valuesOf(definition, "-object").reduce((sum, value) => {
    const pairs = readPairs("-object", value, "qom-type");
    if (!String(valueIn(pairs, "qom-type")).startsWith("memory-backend-")) return sum;
    return sum + backendBytes(String(valueIn(pairs, "size") ?? "0"));
  }, 0);
  return Math.max(definition.ramBytes, backends);
}

/** The size of an object has no unit of its own but bytes, unlike that of -m. */
function backendBytes(size: string): number {
  return ramBytesOf(/\d$/.test(size) ? `${size}b` : size) ?? Number.POSITIVE_INFINITY;
}

/** Processors that are there from the start: -smp cpus=, or the product of its topology; 1 if nothing says. */
export function processorsOf(definition: QemuDefinition): number {
  const [value] = valuesOf(definition, "-smp");
  if (value === undefined) return 1;
  const pairs = readPairs("-smp", value, "cpus");
  const number = (key: string) => Number(valueIn(pairs, key) ?? 0);
  if (number("cpus") > 0) return number("cpus");
  const topology = ["sockets", "dies", "clusters", "modules", "cores", "threads"];
  const product = topology.reduce((all, key) => all * Math.max(1, number(key)), 1);
  return number("maxcpus") > 0 ? Math.max(number("maxcpus"), product) : product;
}
