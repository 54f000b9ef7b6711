/** What must be the same of a domain wherever it is: its definition, the count of its ticks, what its disks hold. */
import { expect } from "bun:test";
import { xmlDifference } from "../../../src/vm/libvirt/definition/xml-difference.ts";
import { ticksIn } from "../guests/serial-line.ts";
import { ticksOnDisk } from "../guests/tick-disk.ts";
import { count } from "../moves/whole-move.ts";
import { runChild } from "../system/child.ts";
import type { LibvirtHost } from "./libvirt-host.ts";
import { printedOn } from "./tick-domain.ts";
import type { DomainDisk } from "./tick-xml.ts";

/** What a host gives a domain anew: numbers, names of devices, paths, networks, labels (libvirt, formatdomain). */
const ofTheHost: readonly RegExp[] = [
  /^domain id=\d+$/,
  /\/alias name=\S+$/,
  // Where its files lie, and numbers that libvirt counts the images by.
  /^devices\/disk\[\w+\]\/source( (file|index)=\S+)+$/,
  /^os\/(nvram|kernel|initrd) \/\S+$/,
  // A pty's number.
  /^devices\/(serial|console)\[\d+\](\/source)?( (path|tty)=\/dev\/pts\/\d+)+$/,
  /^devices\/channel\[\S+\]\/source( (mode=bind|path=\S+))+$/,
  // What is behind a card, and the tap device before it.
  /^devices\/interface\[\S+\] type=(network|bridge|ethernet)$/,
  /^devices\/interface\[\S+\]\/source( (network|bridge|portid)=\S+)+$/,
  /^devices\/interface\[\S+\]\/target dev=vnet\d+$/,
  /^seclabel(#\d+)?\/(label|imagelabel) \S+$/,
];

/** Lines of what is different between two definitions, what a host gives anew aside. */
export function domainDifference(here: string, there: string): string[] {
  return xmlDifference(here, there).filter((line) => !ofTheHost.some((rule) => rule.test(line.slice(2))));
}

/** The definitions of a domain, as a host has them: of what runs, and from its next start on. */
export interface DomainDefinitions {
  live: string | null;
  defined: string | null;
}

export async function definitionsOf(host: LibvirtHost, name: string): Promise<DomainDefinitions> {
  const isOff = (await host.virsh("domstate", name)).trim() === "shut off";
  const isPersistent = /^Persistent:\s+yes$/m.test(await host.virsh("dominfo", name));
  return {
    live: isOff ? null : await host.virsh("dumpxml", name),
    defined: isPersistent ? await host.virsh("dumpxml", "--inactive", name) : null,
  };
}

/** Throws (by `expect`) where the host's domain of that name is another one than this, but for the lines of `other`. */
export async function expectSameDomain(
  before: DomainDefinitions,
  host: LibvirtHost,
  name: string,
  other: readonly string[] = [],
): Promise<void> {
  const now = await definitionsOf(host, name);
  for (const kind of ["live", "defined"] as const) {
    const [then, there] = [before[kind], now[kind]];
    expect(there === null, `whether there is the one that is ${kind}`).toBe(then === null);
    if (then !== null && there !== null) expect(domainDifference(then, there), kind).toEqual([...other]);
  }
}

/** Throws (by `expect`) where a tick is missing, came twice, or the count began again. Gives how many there are. */
export function expectWholeTicks(hosts: readonly LibvirtHost[], name: string): number {
  const ticks = ticksIn(printedOn(hosts, name));
  expect(ticks).toEqual(count(ticks.length));
  return ticks.length;
}

/**
 * Throws (by `expect`) where what a disk that no QEMU holds has of ticks differs from what was printed on the hosts by
 * more than the tick under way. The disk's path is the machine's.
 */
export async function expectTicksOnDisk(
  disk: Pick<DomainDisk, "path" | "format">,
  hosts: readonly LibvirtHost[],
  name: string,
): Promise<void> {
  const printed = expectWholeTicks(hosts, name);
  const written = await ticksOnDisk(disk);
  expect(written).toEqual(count(written.length));
  expect(written.length - printed).toBeOneOf([0, 1]);
}

/** Throws, with what qemu-img says, where a guest would see other bytes on one disk than on the other. */
export async function expectSameDisk(format: "raw" | "qcow2", here: string, there: string): Promise<void> {
  await runChild(["qemu-img", "compare", "-U", "-f", format, "-F", format, here, there]);
}
