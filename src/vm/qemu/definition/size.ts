/** How much of a host a VM takes: memory and processors, by its options -m, -object and -smp (qemu(1)). Pure. */
import { ramBytesOf, ramOf } from "./machine.ts";
import type { Pair, VmModel } from "./model.ts";
import { valueIn } from "./option-syntax.ts";

/** What an option was given, each time that it is there. */
function plain({ parts }: Pick<VmModel, "parts">, option: string): (readonly Pair[])[] {
  return parts.flatMap((part) => (part.kind === "plain" && part.option === option ? [part.pairs] : []));
}

/**
 * Bytes of RAM that QEMU may have for the guest: that of -m, or of all memory backends together if that is more.
 * What can be plugged in later (maxmem) is not in it.
 */
export function memoryOf(model: Pick<VmModel, "machinePairs" | "parts">): number {
  const backends = plain(model, "-object").reduce((sum, pairs) => {
    if (!String(valueIn(pairs, "qom-type")).startsWith("memory-backend-")) return sum;
    return sum + backendBytes(String(valueIn(pairs, "size") ?? "0"));
  }, 0);
  return Math.max(ramOf(model), backends);
}

/** The size of an object has no unit of its own but bytes, unlike that of -m. */
function backendBytes(size: string): number {
  return ramBytesOf(/\d$/.test(size) ? `${size}b` : size) ?? Number.POSITIVE_INFINITY;
}

/** Processors that are there from the start: -smp cpus=, or the product of its topology; 1 if nothing says. */
export function processorsOf(model: Pick<VmModel, "parts">): number {
  const [pairs] = plain(model, "-smp");
  if (pairs === undefined) return 1;
  const number = (key: string) => Number(valueIn(pairs, key) ?? 0);
  if (number("cpus") > 0) return number("cpus");
  const topology = ["sockets", "dies", "clusters", "modules", "cores", "threads"];
  const product = topology.reduce((all, key) => all * Math.max(1, number(key)), 1);
  return number("maxcpus") > 0 ? Math.max(number("maxcpus"), product) : product;
}
