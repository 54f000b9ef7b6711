/**
 * What a VM consists of by its QEMU's own word, so that a change of it is noticed: its disks and media with their
 * snapshots, bitmaps and limits, the devices that were given to it, its memory and its processors (QEMU qapi/block-core.json,
 * qom.json, machine.json).
 */
import * as v from "valibot";
import { limitEntries } from "../images/drive-limits.ts";
import { dirtyBitmaps } from "../images/image-info.ts";
import type { Qmp } from "../qmp/qmp.ts";
import { QmpError } from "../qmp/qmp-error.ts";

/** By what a person calls a part: what is known of it, as a text that stays the same as long as the part does. */
export type Parts = ReadonlyMap<string, string>;

export interface Hardware {
  /** Disks and removable media, by their drives. */
  media: Parts;
  /** Devices, memory modules and processors. */
  devices: Parts;
}

const blockSchema = v.array(
  v.object({
    device: v.optional(v.string(), ""),
    qdev: v.optional(v.string(), ""),
    tray_open: v.optional(v.boolean()),
    inserted: v.optional(
      v.object({
        "node-name": v.optional(v.string(), ""),
        file: v.string(),
        drv: v.string(),
        ro: v.boolean(),
        image: v.object({
          "virtual-size": v.number(),
          "backing-filename": v.optional(v.string()),
          snapshots: v.optional(v.array(v.object({ id: v.string(), name: v.string() })), []),
        }),
        "dirty-bitmaps": dirtyBitmaps,
        ...limitEntries,
      }),
    ),
  }),
);
const objectsSchema = v.array(v.object({ name: v.string(), type: v.string() }));
const memorySchema = v.array(v.object({ type: v.string(), data: v.looseObject({}) }));
const processorsSchema = v.array(v.object({ "qom-path": v.optional(v.string()) }));

/** Where QEMU keeps the devices that were given to it, with an id and without one. */
const deviceFolders = ["/machine/peripheral", "/machine/peripheral-anon"];

/** Asks QEMU for everything. Throws QmpError. */
export async function hardwareOf(qmp: Qmp): Promise<Hardware> {
  return { media: await mediaOf(qmp), devices: await devicesOf(qmp) };
}

/** The disks and media, by the ids of their drives. Throws QmpError. */
export async function mediaOf(qmp: Qmp): Promise<Parts> {
  const blocks = await qmp.ask(blockSchema, "query-block");
  return new Map(
    blocks.map(({ device, qdev, tray_open: isOpen, inserted }) => {
      const drive = qdev === "" ? device : qdev;
      const { image, "dirty-bitmaps": bitmaps = [], ...medium } = inserted ?? { image: undefined };
      // Those without a name are QEMU's own: a mirror has one.
      const named = bitmaps.filter(({ name }) => name !== undefined && name !== "");
      return [`the drive ${drive}`, JSON.stringify([isOpen ?? false, medium, image ?? null, named])];
    }),
  );
}

/** Everything else that can be plugged in or taken away while the VM runs. Throws QmpError. */
export async function devicesOf(qmp: Qmp): Promise<Parts> {
  const parts = new Map<string, string>();
  for (const path of deviceFolders) {
    const objects = await qmp.ask(objectsSchema, "qom-list", { path });
    for (const { name, type } of objects) {
      if (type.startsWith("child<")) parts.set(`the device ${name}`, type);
    }
  }
  const modules = await qmp.ask(memorySchema, "query-memory-devices");
  for (const [i, { type, data }] of modules.entries()) {
    parts.set(
      `the memory ${String(data.id ?? i)}`,
      JSON.stringify([type, data.size ?? null, data.addr ?? null]),
    );
  }
  for (const path of await pluggedProcessors(qmp)) parts.set(`the processor ${path}`, "");
  return parts;
}

/** Empty also if the machine has no processors that could be plugged. */
async function pluggedProcessors(qmp: Qmp): Promise<string[]> {
  try {
    const processors = await qmp.ask(processorsSchema, "query-hotpluggable-cpus");
    return processors.flatMap(({ "qom-path": path }) => (path === undefined ? [] : [path]));
  } catch (thrown) {
    if (thrown instanceof QmpError && thrown.kind === "refused") return [];
    throw thrown;
  }
}

/** What has changed, as a clause ("the device nic9 was plugged in"); null if nothing has. Pure. */
export function changeOf(then: Parts, now: Parts): string | null {
  for (const [part, was] of then) {
    const is = now.get(part);
    if (is === undefined) return `${part} was taken away`;
    if (is !== was) return `${part} was changed`;
  }
  for (const part of now.keys()) if (!then.has(part)) return `${part} was plugged in`;
  return null;
}
