/**
 * What was plugged into a VM, or taken out of it, after its QEMU was started: its command line does not say so, and a
 * QEMU that is started by it cannot load the VM's state. QEMU keeps what -device and device_add make in two folders of
 * its object tree, and says of each device whether the machine was already running (qapi/qom.json; hw/core/qdev.c,
 * "hotplugged"): cards, memory modules and processors, ports and USB devices alike.
 */
import * as v from "valibot";
import type { MigrateError } from "../../protocol/errors.ts";
import type { QemuDefinition } from "./definition/definition.ts";
import { valueIn } from "./definition/option-syntax.ts";
import { processorsOf } from "./definition/size.ts";
import type { Qmp } from "./qmp/qmp.ts";
import { QmpError } from "./qmp/qmp-error.ts";
import { invalid } from "./refusals.ts";

const objectsSchema = v.array(v.object({ name: v.string(), type: v.string() }));
const chardevsSchema = v.array(v.object({ label: v.string() }));
const processorsSchema = v.array(
  v.object({ "qom-path": v.optional(v.string()), "vcpus-count": v.optional(v.number(), 1) }),
);

interface Device {
  /** Null for one without an id. */
  id: string | null;
  type: string;
  hotplugged: boolean;
}

/** What board and monitors have beside those that the command line names. */
const ownChardev = /^(?:compat_monitor\d+|serial\d+|parallel\d+|gdb|.*-base)$/;

/** An error for each device that came or went since the VM was started. Throws QmpError. */
export async function changesSinceStart(qmp: Qmp, definition: QemuDefinition): Promise<MigrateError[]> {
  const errors: MigrateError[] = [];
  const devices = await devicesOf(qmp);
  for (const device of devices) if (isPlugged(device, definition)) errors.push(cameIn(device));
  for (const name of missing(devices, definition)) errors.push(wentAway(`device ${name}`));
  errors.push(...(await missingProcessors(qmp, definition)), ...(await changedChardevs(qmp, definition)));
  return errors;
}

async function devicesOf(qmp: Qmp): Promise<Device[]> {
  const devices: Device[] = [];
  for (const [folder, named] of [
    ["/machine/peripheral", true],
    ["/machine/peripheral-anon", false],
  ] as const) {
    for (const { name, type } of await qmp.ask(objectsSchema, "qom-list", { path: folder })) {
      const driver = /^child<(.*)>$/.exec(type)?.[1];
      if (driver === undefined) continue;
      const hotplugged = await isHotplugged(qmp, `${folder}/${name}`);
      devices.push({ id: named ? name : null, type: driver, hotplugged });
    }
  }
  return devices;
}

async function isHotplugged(qmp: Qmp, path: string): Promise<boolean> {
  try {
    return await qmp.ask(v.boolean(), "qom-get", { path, property: "hotplugged" });
  } catch (thrown) {
    // It is no device, or is gone by now: what it was plugged into shows that.
    if (thrown instanceof QmpError && thrown.kind === "refused") return false;
    throw thrown;
  }
}

function isPlugged({ id, hotplugged }: Device, definition: QemuDefinition): boolean {
  return hotplugged || (id !== null && !idsOf(definition).has(id));
}

function idsOf({ parts }: QemuDefinition): Map<string, string> {
  return new Map(
    parts.flatMap((part) => {
      const id = part.kind === "device" ? valueIn(part.pairs, "id") : undefined;
      return part.kind === "device" && id !== undefined ? [[id, part.driver] as const] : [];
    }),
  );
}

/** Devices without an id, by their drivers: -drive if=virtio makes one as well. */
function namelessOf({ parts }: QemuDefinition): string[] {
  return parts.flatMap((part) => {
    if (part.kind === "device") return valueIn(part.pairs, "id") === undefined ? [part.driver] : [];
    return part.kind === "drive" && valueIn(part.pairs, "if") === "virtio" ? ["virtio-blk"] : [];
  });
}

/** What the command line names and QEMU does not have, in words. */
function missing(devices: readonly Device[], definition: QemuDefinition): string[] {
  const there = new Set(devices.flatMap(({ id }) => (id === null ? [] : [id])));
  const named = [...idsOf(definition)].filter(([id]) => !there.has(id));
  const left = devices.filter(({ id, hotplugged }) => id === null && !hotplugged).map(({ type }) => type);
  const wanted = namelessOf(definition);
  const gone = wanted.length - left.length;
  // QEMU knows some drivers by a longer name than the command line: only how many there are is certain.
  const unmatched = wanted.filter((driver) => {
    const at = left.findIndex((type) => type === driver || type.startsWith(`${driver}-`));
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
  return [
    ...named.map(([id, driver]) => `${id} (${driver})`),
    ...(gone > 0 ? unmatched.slice(0, gone).map((driver) => `without an id (${driver})`) : []),
  ];
}

/** A machine whose processors cannot be plugged has those that it was started with. */
async function missingProcessors(qmp: Qmp, definition: QemuDefinition): Promise<MigrateError[]> {
  let processors: v.InferOutput<typeof processorsSchema>;
  try {
    processors = await qmp.ask(processorsSchema, "query-hotpluggable-cpus");
  } catch (thrown) {
    if (thrown instanceof QmpError && thrown.kind === "refused") return [];
    throw thrown;
  }
  const there = processors.reduce(
    (sum, processor) => sum + (processor["qom-path"] === undefined ? 0 : processor["vcpus-count"]),
    0,
  );
  const wanted = processorsOf(definition);
  if (there === 0 || there >= wanted) return [];
  return [
    invalid(
      `The VM was started with ${wanted} processors, and has ${there} now: some were taken away`,
      restart,
    ),
  ];
}

async function changedChardevs(qmp: Qmp, { parts }: QemuDefinition): Promise<MigrateError[]> {
  const errors: MigrateError[] = [];
  const there = (await qmp.ask(chardevsSchema, "query-chardev")).map(({ label }) => label);
  const named = parts.flatMap((part) => (part.kind === "chardev" ? [part.id] : []));
  for (const label of there) {
    if (named.includes(label) || ownChardev.test(label)) continue;
    errors.push(
      invalid(
        `The character device ${label} was added after the VM was started`,
        `Remove it (chardev-remove ${label}) with what uses it, or restart the VM with it on its command line.`,
      ),
    );
  }
  for (const id of named) if (!there.includes(id)) errors.push(wentAway(`character device ${id}`));
  return errors;
}

const restart = "Restart the VM with what it has now on its command line.";

function cameIn({ id, type }: Device): MigrateError {
  const unplug = id === null ? "Unplug it" : `Unplug it (device_del ${id})`;
  const which = id === null ? `without an id (${type})` : `${id} (${type})`;
  return invalid(
    `The device ${which} was plugged in after the VM was started`,
    `${unplug}, or restart the VM with it on its command line.`,
  );
}

function wentAway(what: string): MigrateError {
  return invalid(`The ${what}, which the VM was started with, was taken away`, restart);
}
