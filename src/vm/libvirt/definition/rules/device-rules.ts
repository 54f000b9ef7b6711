/** Which devices a domain may have (formatdomain, "Devices"), and those that never travel, by name. Pure. */
import { attributeOf, childOf, withAttributes, type XmlElement } from "../../xml/xml-element.ts";
import { chardevRules } from "./chardev-rules.ts";
import { device, virtio, virtioModel } from "./device-parts.ts";
import { disk } from "./disk-rules.ts";
import { displayRules } from "./display-rules.ts";
import { type Draft, shown } from "./draft.ts";
import { type ChildRule, type ElementRule, leftOut, leftOutWith, notAmong, wayOut } from "./grammar.ts";
import { card } from "./interface-rules.ts";
import { bare, count, hexOrWhole, oneOf, only, onOff, sized, uuid, whole, word, yesNo } from "./values.ts";

/** Refuses a device whose attribute has one of these values, which name what of the host it needs. */
function unless(
  attribute: string,
  reasons: Readonly<Record<string, string>>,
): NonNullable<ElementRule["prepare"]> {
  return (element, draft) => {
    const value = attributeOf(element, attribute) ?? "";
    if (!Object.hasOwn(reasons, value)) return element;
    return draft.refuse(`<${element.name}> ${value}`, reasons[value]!, wayOut(element.name));
  };
}

const controller: ElementRule = device({
  needs: ["type"],
  attributes: {
    type: oneOf("ide fdc scsi sata usb ccid virtio-serial pci isa nvme"),
    index: /^(?:-1|\d{1,5})$/,
    model: oneOf(`
      auto none buslogic lsilogic lsisas1068 lsisas1078 vmpvscsi virtio-scsi am53c974 dc390 ncr53c90
      virtio virtio-transitional virtio-non-transitional
      piix3 piix4 piix3-uhci piix4-uhci ehci ich9-ehci1 ich9-uhci1 ich9-uhci2 ich9-uhci3 vt82c686b-uhci pci-ohci
      nec-xhci qemu-xhci qusb1 qusb2
      pci-root pcie-root pcie-root-port pcie-switch-upstream-port pcie-switch-downstream-port
      pci-bridge dmi-to-pci-bridge pcie-to-pci-bridge pci-expander-bus pcie-expander-bus
    `),
    ports: count,
    vectors: count,
  },
  children: {
    driver: {
      attributes: {
        queues: count,
        cmd_per_lun: count,
        max_sectors: count,
        ioeventfd: onOff,
        iothread: count,
        ...virtio,
      },
      children: {
        iothreads: {
          children: {
            iothread: {
              attributes: { id: count },
              children: { queue: only({ id: count }, true) },
              many: true,
            },
          },
        },
      },
    },
    master: only({ startport: count }),
    model: only({
      name: oneOf(`
        pci-bridge i82801b11-bridge ioh3420 pcie-root-port pcie-pci-bridge x3130-upstream xio3130-downstream
        pxb pxb-pcie
      `),
    }),
    target: {
      attributes: {
        chassisNr: count,
        chassis: count,
        port: hexOrWhole,
        busNr: count,
        index: count,
        hotplug: onOff,
        memReserve: whole,
      },
      children: { node: { text: count } },
    },
    pcihole64: sized,
    serial: { text: word },
  },
});

const input: ElementRule = device({
  needs: ["type"],
  prepare: unless("type", {
    passthrough: "it is a device of this host",
    evdev: "it is a device of this host",
  }),
  attributes: { type: oneOf("mouse tablet keyboard"), bus: oneOf("ps2 usb virtio"), model: virtioModel },
  children: { driver: only(virtio) },
});

const watchdog: ElementRule = device({
  needs: ["model"],
  attributes: {
    model: oneOf("i6300esb ib700 diag288 itco"),
    action: oneOf("reset shutdown poweroff pause none inject-nmi"),
  },
  prepare: (element, draft) => {
    if (attributeOf(element, "action") !== "dump") return element;
    draft.note('<watchdog> action= is "reset" there: a core dump is a file of the host');
    return withAttributes(element, { action: "reset" });
  },
});

const memballoon: ElementRule = device({
  needs: ["model"],
  attributes: {
    model: oneOf("virtio virtio-transitional virtio-non-transitional none"),
    autodeflate: onOff,
    freePageReporting: onOff,
  },
  children: { stats: only({ period: count }), driver: only(virtio) },
});

function prepareRng(rng: XmlElement, draft: Draft): XmlElement | null {
  const backend = childOf(rng, "backend");
  const model = attributeOf(backend, "model");
  if (model === "egd") return draft.refuse("<rng> egd", "it is another program's", wayOut("rng"));
  if (model === "random" && !randomDevice.test(backend?.text ?? ""))
    return draft.refuse("<rng> random", "its device is neither /dev/urandom nor /dev/random", wayOut("rng"));
  if (model === "builtin" && backend!.text !== "") return draft.refuse("<rng> builtin", "it has a device");
  return rng;
}

/** Sources of randomness that every host has; without one libvirt takes /dev/random. */
const randomDevice = /^(?:\/dev\/u?random)?$/;

const rng: ElementRule = device({
  prepare: prepareRng,
  needs: ["model"],
  attributes: { model: virtioModel },
  needsChildren: ["backend"],
  children: {
    rate: only({ bytes: count, period: count }),
    backend: { needs: ["model"], attributes: { model: oneOf("random builtin") }, text: randomDevice },
    driver: only(virtio),
  },
});

const tpmReasons: Readonly<Record<string, string>> = {
  passthrough: "it is this host's TPM",
  external: "it is another program's",
};

function prepareTpm(tpm: XmlElement, draft: Draft): XmlElement | null {
  const backend = childOf(tpm, "backend");
  const type = attributeOf(backend, "type") ?? "";
  if (type !== "emulator")
    return draft.refuse(
      `<tpm> ${shown(type)}`,
      Object.hasOwn(tpmReasons, type) ? tpmReasons[type]! : notAmong,
      wayOut("tpm"),
    );
  if (childOf(backend, "encryption") !== undefined)
    return draft.refuse(
      "<tpm>",
      "its state is encrypted with a secret of this host",
      "Make a TPM without <encryption>.",
    );
  return tpm;
}

const tpm: ElementRule = device({
  prepare: prepareTpm,
  attributes: { model: oneOf("tpm-tis tpm-crb") },
  needsChildren: ["backend"],
  children: {
    backend: {
      attributes: {
        type: oneOf("emulator"),
        version: oneOf("1.2 2.0"),
        persistent_state: yesNo,
        debug: count,
      },
      children: {
        active_pcr_banks: { children: { sha1: bare, sha256: bare, sha384: bare, sha512: bare } },
        profile: only({ name: /^[\w.:-]{1,64}$/, removeDisabled: oneOf("check fips-host") }),
        source: leftOutWith("where its state lies is the destination's to choose"),
      },
    },
  },
});

const otherMemory = {
  nvdimm: "its memory is a file of this host",
  "virtio-pmem": "its memory is a file of this host",
  "sgx-epc": "its memory is sealed to this host's processor",
};

const memory: ElementRule = device({
  prepare: unless("model", otherMemory),
  needs: ["model"],
  attributes: {
    model: oneOf("dimm virtio-mem"),
    access: oneOf("shared private"),
    discard: yesNo,
    dynamicMemslots: yesNo,
  },
  needsChildren: ["target"],
  children: {
    uuid: { text: uuid },
    source: {
      children: { pagesize: sized, nodemask: leftOutWith("it is about this host's memory nodes") },
    },
    target: {
      attributes: { dynamicMemslots: yesNo },
      children: {
        size: sized,
        node: { text: count },
        block: sized,
        requested: sized,
        current: leftOut,
        address: only({ base: hexOrWhole }),
      },
    },
  },
});

function prepareVsock(vsock: XmlElement): XmlElement {
  const cid = childOf(vsock, "cid");
  if (attributeOf(cid, "auto") !== "yes") return vsock;
  // The number that it has here may be another's there.
  const auto = withAttributes(cid!, { address: undefined });
  return { ...vsock, children: vsock.children.map((child) => (child === cid ? auto : child)) };
}

const vsock: ElementRule = device({
  prepare: prepareVsock,
  attributes: { model: virtioModel },
  children: { cid: only({ auto: yesNo, address: /^(?:[3-9]|[1-9]\d{1,8})$/ }), driver: only(virtio) },
});

const iommu: ElementRule = device({
  needs: ["model"],
  attributes: { model: oneOf("intel amd virtio smmuv3") },
  children: {
    driver: only({
      intremap: onOff,
      caching_mode: onOff,
      eim: onOff,
      iotlb: onOff,
      aw_bits: count,
      dma_translation: onOff,
      xtsup: onOff,
      granule: count,
    }),
  },
});

const crypto: ElementRule = device({
  attributes: { model: oneOf("virtio"), type: oneOf("qemu") },
  needsChildren: ["backend"],
  children: { backend: only({ model: oneOf("builtin"), queues: count }), driver: only(virtio) },
});

const ofHost = (what: string) => ({ refused: what });

export const deviceRules: Readonly<Record<string, ChildRule>> = {
  // The destination's libvirt has its own for the kind of domain.
  emulator: leftOut,
  disk,
  interface: card,
  controller,
  ...chardevRules,
  ...displayRules,
  input,
  watchdog,
  memballoon,
  rng,
  tpm,
  memory,
  vsock,
  iommu,
  crypto,
  hub: device({ attributes: { type: oneOf("usb") } }),
  panic: device({ attributes: { model: oneOf("isa hyperv pvpanic") } }),
  hostdev: ofHost("it is a device of this host"),
  filesystem: ofHost("it is a directory of this host"),
  shmem: ofHost("it is memory that other programs of this host share"),
  lease: ofHost("it is held in a lock space of this host"),
  pstore: ofHost("it is a file of this host"),
  nvram: ofHost("it is another architecture's"),
};
