/** <disk>: only files with images that QEMU reads alone, whole, and that nobody shares. Pure. */
import {
  attributeOf,
  childOf,
  withAttributes,
  withChildren,
  type XmlElement,
} from "../../xml/xml-element.ts";
import { boot, device, virtio, virtioModel } from "./device-parts.ts";
import { type Draft, shown } from "./draft.ts";
import { type ElementRule, leftOut, leftOutWith, notAmong } from "./grammar.ts";
import { ioLimits } from "./resource-rules.ts";
import { bare, count, file, oneOf, only, onOff, sized, text, whole } from "./values.ts";

const detach = "Detach it (virsh detach-disk) before the move.";
const later = "Copy it to a raw or qcow2 file, or wait for a later version of this program.";

/** Where a disk's bytes are, if that is no file. */
const otherStorage: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  block: ["it is a block device; such disks come in a later version", later],
  network: ["it is on a storage of the network; such disks come in a later version", later],
  volume: ["it is a volume of a storage pool; such disks come in a later version", later],
  dir: ["it is a directory of this host", detach],
  nvme: ["it is a device of this host", detach],
  vhostuser: ["it is another program of this host (vhost-user)", detach],
  vhostvdpa: ["it is a device of this host (vdpa)", detach],
};

/** Children that make of a file more or less than a plain image. */
const notPlain: Readonly<Record<string, string>> = {
  encryption: "it is encrypted with a secret of this host",
  auth: "it is opened with a secret of this host",
  transient: "what it writes is to be thrown away",
  shareable: "another domain may write to it at the same time",
  slices: "its image is a part of a file",
  reservations: "its reservations are made by another program of this host",
  dataStore: "its image has an external data file",
};

/** "<disk> vda", for sentences. */
export function diskName(disk: XmlElement): string {
  const target = attributeOf(childOf(disk, "target"), "dev");
  return target === undefined ? "<disk>" : `<disk> ${shown(target)}`;
}

function prepareDisk(disk: XmlElement, draft: Draft): XmlElement | null {
  const what = diskName(disk);
  const type = attributeOf(disk, "type") ?? "file";
  const kind = attributeOf(disk, "device") ?? "disk";
  if (type !== "file") {
    const [why, hint] = Object.hasOwn(otherStorage, type) ? otherStorage[type]! : [notAmong, detach];
    return draft.refuse(what, why, hint);
  }
  if (kind === "floppy") return draft.refuse(what, "a floppy disk is not moved", detach);
  if (kind === "lun") return draft.refuse(what, "it is a device of this host", detach);
  const source = childOf(disk, "source");
  for (const holder of [disk, source])
    for (const { name } of holder?.children ?? [])
      if (Object.hasOwn(notPlain, name)) return draft.refuse(what, notPlain[name]!, detach);
  const format = attributeOf(childOf(disk, "driver"), "type") ?? "raw";
  if (!/^(?:raw|qcow2)$/.test(format))
    return draft.refuse(
      what,
      `its format is "${shown(format)}", not raw or qcow2`,
      "Convert it with qemu-img convert.",
    );
  if (kind === "disk" && attributeOf(source, "file") === undefined)
    return draft.refuse(what, "it has no file", detach);
  return withFormat(withAttributes(disk, { type, device: kind }), format);
}

/** Without a format libvirt might look for one in the image, which its guest writes. */
function withFormat(disk: XmlElement, type: string): XmlElement {
  if (childOf(disk, "driver") !== undefined)
    return withChildren(disk, (child) => (child.name === "driver" ? withAttributes(child, { type }) : child));
  const driver = {
    name: "driver",
    attributes: new Map([
      ["name", "qemu"],
      ["type", type],
    ]),
    children: [],
    text: "",
  };
  return { ...disk, children: [driver, ...disk.children] };
}

const policy = oneOf("stop report ignore enospace");

export const disk: ElementRule = device({
  sealed: true,
  prepare: prepareDisk,
  attributes: {
    type: oneOf("file"),
    device: oneOf("disk cdrom"),
    model: virtioModel,
    snapshot: oneOf("internal external no manual"),
  },
  needsChildren: ["target"],
  children: {
    driver: {
      attributes: {
        name: oneOf("qemu"),
        type: oneOf("raw qcow2"),
        cache: oneOf("default none writethrough writeback directsync unsafe"),
        error_policy: policy,
        rerror_policy: policy,
        io: oneOf("threads native io_uring"),
        ioeventfd: onOff,
        event_idx: onOff,
        copy_on_read: onOff,
        discard: oneOf("unmap ignore"),
        detect_zeroes: oneOf("off on unmap"),
        discard_no_unref: onOff,
        iothread: count,
        queues: count,
        queue_size: count,
        ...virtio,
      },
      children: {
        metadata_cache: { children: { max_size: sized } },
        iothreads: {
          children: {
            iothread: {
              attributes: { id: count },
              children: { queue: only({ id: count }, true) },
              many: true,
            },
          },
        },
        statistics: { children: { statistic: only({ interval: count }, true) } },
      },
    },
    source: {
      attributes: {
        file,
        index: leftOut,
        startupPolicy: oneOf("mandatory requisite optional"),
      },
      children: { seclabel: leftOut },
    },
    target: {
      needs: ["dev"],
      attributes: {
        dev: /^(?:hd|sd|vd|xvd|ubd|nvme)[a-z\d]{1,4}$/,
        bus: oneOf("ide scsi virtio usb sata sd nvme"),
        tray: oneOf("open closed"),
        removable: onOff,
        rotation_rate: count,
        dpofua: onOff,
      },
    },
    // Of live XML alone: how far a job of libvirt's has come, and what lies under an image.
    backingStore: leftOut,
    mirror: leftOut,
    readonly: bare,
    serial: { text },
    wwn: { text: /^(?:0x)?[\da-fA-F]{16}$/ },
    vendor: { text: /^[\x20-\x7e]{0,8}$/ },
    product: { text: /^[\x20-\x7e]{0,16}$/ },
    geometry: only({ cyls: whole, heads: whole, secs: whole, trans: oneOf("auto none lba") }),
    blockio: only({ logical_block_size: count, physical_block_size: count, discard_granularity: count }),
    iotune: { children: { ...ioLimits(), group_name: { text } } },
    throttlefilters: { children: { throttlefilter: only({ group: text }, true) } },
    backenddomain: leftOutWith("it is not QEMU's"),
    boot,
  },
});
