/** Options that go as they are, once each of their keys is on the list and each value harmless. Pure. */
import { visiblePattern } from "../../../protocol/printable.ts";
import type { Draft, OptionReader } from "./draft.ts";
import { refused, writePairs } from "./option-syntax.ts";
import { type KeyRules, patterns, Settings } from "./settings.ts";

const { whole, number, size, flag, id, word, text, uuid } = patterns;

interface PlainRule {
  /** Key of a first value that has none. */
  implied?: string;
  keys: KeyRules;
  /** The option may be there more than once. */
  many?: boolean;
  /** Keys that may be there more than once within it. */
  repeats?: string[];
}

/** QEMU 7.2 man page, qemu(1), for all of them. */
const rules: Readonly<Record<string, PlainRule>> = {
  "-smp": {
    implied: "cpus",
    keys: {
      cpus: whole,
      sockets: whole,
      dies: whole,
      clusters: whole,
      modules: whole,
      cores: whole,
      threads: whole,
      maxcpus: whole,
    },
  },
  "-boot": {
    implied: "order",
    keys: {
      order: /^[a-p]{1,16}$/,
      once: /^[a-p]{1,16}$/,
      menu: flag,
      strict: flag,
      "reboot-timeout": number,
      "splash-time": whole,
    },
  },
  "-rtc": {
    keys: {
      base: /^(?:utc|localtime|[\dT:-]{8,32})$/,
      clock: /^(?:host|rt|vm)$/,
      driftfix: /^(?:none|slew)$/,
    },
  },
  "-smbios": {
    many: true,
    repeats: ["value"],
    keys: {
      type: whole,
      vendor: text,
      version: text,
      date: text,
      release: text,
      uefi: flag,
      manufacturer: text,
      product: text,
      serial: text,
      uuid,
      sku: text,
      family: text,
      asset: text,
      location: text,
      loc_pfx: text,
      bank: text,
      part: text,
      speed: whole,
      sock_pfx: text,
      "max-speed": whole,
      "current-speed": whole,
      "processor-id": number,
      value: text,
    },
  },
  "-action": {
    many: true,
    keys: {
      reboot: /^(?:reset|shutdown)$/,
      shutdown: /^(?:poweroff|pause)$/,
      panic: /^(?:pause|shutdown|exit-failure|none)$/,
      watchdog: word,
    },
  },
};

const numaKeys: Readonly<Record<string, KeyRules>> = {
  node: { nodeid: whole, cpus: /^\d{1,5}(?:-\d{1,5})?$/, mem: size, initiator: whole },
  dist: { src: whole, dst: whole, val: whole },
  cpu: {
    "node-id": whole,
    "socket-id": whole,
    "die-id": whole,
    "cluster-id": whole,
    "core-id": whole,
    "thread-id": whole,
  },
};

function readPlain(rule: PlainRule): OptionReader {
  return (draft, value, option) => {
    if (!rule.many) draft.once(option);
    const settings = Settings.read(option, value, {
      ...(rule.implied === undefined ? {} : { implied: rule.implied }),
      ...(rule.repeats === undefined ? {} : { repeats: rule.repeats }),
    });
    const pairs = settings.kept(rule.keys);
    settings.end((key) =>
      key === "file" || key === "path" || key === "splash" ? "it names a file" : undefined,
    );
    draft.plain(option, writePairs(pairs));
  };
}

function readNuma(draft: Draft, value: string, option: string): void {
  const settings = Settings.read(option, value, { implied: "type", repeats: ["cpus"] });
  const type = settings.need("type", /^(?:node|dist|cpu)$/);
  const memdev = settings.take("memdev", id);
  const pairs = settings.kept(numaKeys[type] ?? {});
  settings.end();
  if (memdev !== undefined) draft.refer(`${option} memdev`, "object", memdev);
  draft.plain(
    option,
    writePairs(
      [
        { key: "type", value: type },
        ...pairs,
        ...(memdev === undefined ? [] : [{ key: "memdev", value: memdev }]),
      ],
      "type",
    ),
  );
}

/** A value that goes as it is if the pattern fits all of it. */
function readMatching(pattern: RegExp, { many = false } = {}): OptionReader {
  return (draft, value, option) => {
    if (!many) draft.once(option);
    if (!pattern.test(value)) throw refused(option, "its value is not one that a VM may bring along");
    draft.plain(option, value);
  };
}

const readSwitch: OptionReader = (draft, _, option) => draft.plain(option);

/** What the guest is told by -append: longer than any kernel takes. */
const kernelCommandLine = visiblePattern(0, 4096);

/** Readers of the options that take a value. */
export const plainOptions: Readonly<Record<string, OptionReader>> = {
  ...Object.fromEntries(Object.entries(rules).map(([option, rule]) => [option, readPlain(rule)])),
  "-numa": readNuma,
  "-append": readMatching(kernelCommandLine),
  "-vga": readMatching(/^(?:std|cirrus|vmware|qxl|virtio|none)$/),
  "-usbdevice": readMatching(/^(?:tablet|mouse|keyboard)$/, { many: true }),
  "-watchdog-action": readMatching(/^(?:reset|shutdown|poweroff|inject-nmi|pause|debug|none)$/),
};

/** Readers of those that take none. */
export const plainSwitches: Readonly<Record<string, OptionReader>> = {
  "-usb": readSwitch,
  "-no-reboot": readSwitch,
  "-no-shutdown": readSwitch,
  "-no-fd-bootchk": readSwitch,
  "-only-migratable": readSwitch,
};
