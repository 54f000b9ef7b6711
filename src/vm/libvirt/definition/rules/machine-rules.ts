/**
 * What a domain may say of its machine: firmware and boot, processor, features, clock, power (formatdomain,
 * "Operating system booting", "CPU model and topology", "Hypervisor features", "Time keeping"). Pure.
 */
import {
  attributeOf,
  childOf,
  element,
  withAttributes,
  withoutChildren,
  type XmlElement,
} from "../../xml/xml-element.ts";
import { type Draft, shown } from "./draft.ts";
import { type ChildRule, type ElementRule, leftOut } from "./grammar.ts";
import {
  bare,
  count,
  cpuset,
  emptyOrText,
  file,
  firmwareFile,
  oneOf,
  only,
  onOff,
  sized,
  unit,
  uuid,
  whole,
  word,
  yesNo,
} from "./values.ts";

const archs = oneOf("x86_64 i686 aarch64");
const ofHost = "it is a file of this host";

export const os: ElementRule = {
  sealed: true,
  attributes: { firmware: oneOf("bios efi") },
  prepare: prepareOs,
  needsChildren: ["type"],
  children: {
    type: { attributes: { arch: archs, machine: word }, needs: ["arch", "machine"], text: /^hvm$/ },
    firmware: {
      children: { feature: only({ name: oneOf("enrolled-keys secure-boot"), enabled: yesNo }, true) },
    },
    loader: {
      attributes: {
        readonly: oneOf("yes"),
        secure: yesNo,
        type: oneOf("rom pflash"),
        stateless: yesNo,
        format: oneOf("raw qcow2"),
      },
      text: { test: (path) => path === "" || firmwareFile.test(path) },
    },
    nvram: {
      attributes: { template: firmwareFile, templateFormat: oneOf("raw qcow2"), format: oneOf("raw qcow2") },
      text: { test: (path, draft) => path === "" || file.test(path, draft) },
      prepare: prepareNvram,
    },
    kernel: { text: file },
    initrd: { text: file },
    cmdline: { text: emptyOrText },
    boot: only({ dev: oneOf("hd cdrom network fd") }, true),
    bootmenu: only({ enable: yesNo, timeout: count }),
    bios: only({ useserial: yesNo, rebootTimeout: /^-?\d{1,6}$/ }),
    smbios: only({ mode: oneOf("emulate sysinfo") }),
    dtb: { refused: ofHost },
    shim: { refused: ofHost },
    acpi: { refused: `its table is a file of this host` },
  },
};

/** A firmware that libvirt has chosen already stays the one that it is: XML with both is refused by libvirt 9. */
function prepareOs(element: XmlElement, draft: Draft): XmlElement | null {
  const loader = childOf(element, "loader");
  const nvram = childOf(element, "nvram");
  // It travels as raw bytes, in which nobody looks for the name of another file. Without a word it is as the loader is.
  const format = attributeOf(nvram, "format") ?? attributeOf(loader, "format") ?? "raw";
  if (nvram !== undefined && format !== "raw")
    draft.refuse(
      "<nvram>",
      `its format is "${shown(format)}", not raw`,
      "Give the domain an NVRAM that is raw.",
    );
  if (loader === undefined || loader.text === "") return element;
  if (!firmwareFile.test(loader.text))
    return draft.refuse(
      "<loader>",
      "its file is not where packages have firmware",
      "Use a firmware below /usr/share (OVMF, AAVMF, edk2, qemu).",
    );
  const chosen = withoutChildren(withAttributes(element, { firmware: undefined }), "firmware");
  if (attributeOf(loader, "type") !== "pflash") return chosen;
  if (attributeOf(loader, "readonly") === "no") {
    draft.refuse(
      "<loader>",
      "the domain writes to the firmware's own file",
      "Use a firmware with a separate <nvram>.",
    );
    return chosen;
  }
  // Without the attribute libvirt opens the file for writing.
  const children = chosen.children.map((child) =>
    child === loader ? withAttributes(loader, { readonly: "yes" }) : child,
  );
  return { ...chosen, children };
}

/** libvirt writes an NVRAM as text, or as <source file=…/>: here it is always text. */
function prepareNvram(nvram: XmlElement, draft: Draft): XmlElement | null {
  const template = attributeOf(nvram, "template");
  let plain = nvram;
  if (template !== undefined && !firmwareFile.test(template)) {
    draft.note("<nvram> template= is left out: its file is not where packages have firmware");
    plain = withAttributes(plain, { template: undefined, templateFormat: undefined });
  }
  const type = attributeOf(nvram, "type");
  if (type === undefined) return plain;
  const source = childOf(nvram, "source");
  if (
    type !== "file" ||
    source === undefined ||
    [...source.attributes.keys()].some((name) => !/^(?:file|index)$/.test(name))
  )
    return draft.refuse("<nvram>", "it is not a plain file", "Copy the NVRAM to a file of this host.");
  if (source.children.some(({ name }) => name !== "seclabel"))
    return draft.refuse("<nvram>", "its file is more than a plain file");
  const attributes = withAttributes(plain, { type: undefined }).attributes;
  return element("nvram", attributes, attributeOf(source, "file") ?? "");
}

const state: ElementRule = only({ state: onOff });
const states = (names: string): Record<string, ElementRule> =>
  Object.fromEntries(names.split(" ").map((name) => [name, state]));

const hyperv: ElementRule = {
  attributes: { mode: oneOf("custom passthrough host-model") },
  children: {
    ...states(
      "relaxed vapic vpindex runtime synic reset frequencies reenlightenment ipi evmcs avic emsr_bitmap xmm_input",
    ),
    tlbflush: { attributes: { state: onOff }, children: states("direct extended") },
    stimer: { attributes: { state: onOff }, children: states("direct") },
    spinlocks: only({ state: onOff, retries: count }),
    vendor_id: only({ state: onOff, value: /^[^,\p{C}]{0,12}$/u }),
  },
};

const features: ElementRule = {
  children: {
    acpi: bare,
    pae: bare,
    apic: only({ eoi: onOff }),
    hap: state,
    viridian: bare,
    hyperv,
    kvm: {
      children: {
        ...states("hidden hint-dedicated poll-control pv-ipi"),
        "dirty-ring": only({ state: onOff, size: count }),
      },
    },
    ...states("pvspinlock pmu vmport vmcoreinfo ps2 ras async-teardown"),
    gic: only({ version: oneOf("host 2 3 none") }),
    smm: { attributes: { state: onOff }, children: { tseg: sized } },
    ioapic: only({ driver: oneOf("kvm qemu") }),
    msrs: only({ unknown: oneOf("ignore fault") }),
    tcg: { children: { "tb-cache": sized } },
  },
};

const interconnect = {
  initiator: count,
  target: count,
  cache: count,
  type: oneOf("access read write"),
  value: whole,
  unit,
};

const numa: ElementRule = {
  children: {
    cell: {
      many: true,
      attributes: {
        id: count,
        cpus: cpuset,
        memory: whole,
        unit,
        memAccess: oneOf("shared private"),
        discard: yesNo,
      },
      children: {
        distances: { children: { sibling: only({ id: count, value: count }, true) } },
        cache: {
          many: true,
          attributes: {
            level: count,
            associativity: oneOf("none direct full"),
            policy: oneOf("none writeback writethrough"),
          },
          children: { size: only({ value: whole, unit }), line: only({ value: whole, unit }) },
        },
      },
    },
    interconnects: { children: { latency: only(interconnect, true), bandwidth: only(interconnect, true) } },
  },
};

const cpu: ElementRule = {
  attributes: {
    mode: oneOf("custom host-model host-passthrough maximum"),
    match: oneOf("minimum exact strict"),
    check: oneOf("none partial full"),
    migratable: onOff,
    deprecated_features: onOff,
  },
  children: {
    model: {
      attributes: { fallback: oneOf("allow forbid"), vendor_id: /^[^,\p{C}]{12}$/u },
      text: { test: (name) => name === "" || word.test(name) },
    },
    vendor: { text: word },
    topology: only({ sockets: count, dies: count, clusters: count, cores: count, threads: count }),
    cache: only({ level: oneOf("1 2 3"), mode: oneOf("emulate passthrough disable") }),
    maxphysaddr: only({ mode: oneOf("emulate passthrough"), bits: count, limit: count }),
    feature: only({ policy: oneOf("force require optional disable forbid"), name: word }, true),
    numa,
  },
};

const timer: ElementRule = {
  many: true,
  needs: ["name"],
  attributes: {
    name: oneOf("platform pit rtc hpet tsc kvmclock hypervclock armvtimer"),
    track: oneOf("boot guest wall realtime"),
    tickpolicy: oneOf("delay catchup merge discard"),
    present: yesNo,
    frequency: whole,
    mode: oneOf("auto native emulate paravirt smpsafe"),
  },
  children: { catchup: only({ threshold: count, slew: count, limit: count }) },
};

const clock: ElementRule = {
  attributes: {
    offset: oneOf("utc localtime timezone variable absolute"),
    adjustment: /^(?:reset|-?\d{1,15})$/,
    basis: oneOf("utc localtime"),
    timezone: /^[A-Za-z][\w+-]*(?:\/[A-Za-z][\w+-]*){0,3}$/,
    start: whole,
  },
  children: { timer },
};

const entry: ElementRule = { attributes: { name: /^[\w./-]{1,64}$/ }, text: emptyOrText, many: true };
const entries: ElementRule = { children: { entry } };

const sysinfo: ElementRule = {
  many: true,
  attributes: { type: oneOf("smbios fwcfg") },
  children: {
    bios: entries,
    system: entries,
    baseBoard: { ...entries, many: true },
    chassis: entries,
    oemStrings: { children: { entry: { text: emptyOrText, many: true } } },
    // Of a firmware configuration: one that names a file has an attribute that is not in the table.
    entry,
  },
};

const power: ElementRule = only({ enabled: yesNo });

/** What becomes of a domain's core, which is a file of the host that the guest can make at will. */
function withoutDump(ends: string): ElementRule {
  return {
    text: oneOf(ends),
    prepare: (element, draft) => {
      const plain = /^coredump-(destroy|restart)$/.exec(element.text)?.[1];
      if (plain === undefined) return element;
      draft.note(`<${element.name}> is "${plain}" there: a core dump is a file of the host`);
      return { ...element, text: plain };
    },
  };
}

const ends = "destroy restart preserve rename-restart";

export const machineRules: Readonly<Record<string, ChildRule>> = {
  os,
  features,
  cpu,
  clock,
  sysinfo,
  genid: { text: { test: (value) => value === "" || uuid.test(value) } },
  hwuuid: { text: uuid },
  pm: { children: { "suspend-to-mem": power, "suspend-to-disk": power } },
  on_poweroff: { text: oneOf(ends) },
  on_reboot: { text: oneOf(ends) },
  on_crash: withoutDump(ends),
  on_lockfailure: { text: oneOf("poweroff restart pause ignore") },
  launchSecurity: { refused: "its memory is sealed to this host's processor, and cannot be moved" },
  keywrap: { refused: "its keys belong to this host" },
  idmap: leftOut,
};
