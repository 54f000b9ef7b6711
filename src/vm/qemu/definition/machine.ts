/** -machine, -accel, -cpu, -m and what belongs to them. Pure. */
import { checkVmName } from "../../../protocol/names.ts";
import type { Draft, OptionReader } from "./draft.ts";
import type { CpuModel, QemuDefinition, TextPair, VmModel } from "./model.ts";
import { asText, refused, shown, valueIn } from "./option-syntax.ts";
import { keysOfPlain, plainRules } from "./plain-rules.ts";
import { type KeyRules, patterns, Settings } from "./settings.ts";

const { whole, number, size, flag, id, node, word, uuid } = patterns;

/** RAM of a VM without -m, hw/core/machine.c. */
export const defaultRamBytes = 128 * 2 ** 20;
/** QEMU rounds RAM up to this, softmmu/vl.c. */
const ramStepBytes = 8192;
const unitPowers = "bkmgtpe";

/** Machine types by system: the PC, which distributions give names of their own, and Arm's board for VMs. */
export const machineTypes = {
  x86_64: /^(?:pc|q35|microvm|none|pc-(?:i440fx|q35)-[a-z\d.-]{1,40}|(?:ubuntu|rhel)(?:-[a-z\d.-]{1,40})?)$/,
  aarch64: /^(?:virt|none|virt-[a-z\d.-]{1,40})$/,
} as const;

export const machineKeys: KeyRules = {
  usb: flag,
  vmport: flag,
  graphics: flag,
  smm: flag,
  hpet: flag,
  acpi: flag,
  pit: flag,
  pic: flag,
  rtc: flag,
  sata: flag,
  smbus: flag,
  i8042: flag,
  nvdimm: flag,
  hmat: flag,
  "mem-merge": flag,
  "suppress-vmdesc": flag,
  "fd-bootchk": flag,
  "isa-serial": flag,
  "option-roms": flag,
  pcie: flag,
  ioapic2: flag,
  "auto-kernel-cmdline": flag,
  "default-bus-bypass-iommu": flag,
  default_bus_bypass_iommu: flag,
  "max-ram-below-4g": size,
  "max-fw-size": size,
  "smbios-entry-point-type": /^(?:32|64|auto)$/,
  "x-oem-id": word,
  "x-oem-table-id": word,
  "kernel-irqchip": /^(?:on|off|split)$/,
  kernel_irqchip: /^(?:on|off|split)$/,
  "gic-version": /^(?:2|3|4|host|max)$/,
  highmem: flag,
  its: flag,
  ras: flag,
  mte: flag,
  iommu: /^(?:none|smmuv3)$/,
  secure: flag,
  virtualization: flag,
  pflash0: node,
  pflash1: node,
  "memory-backend": id,
};

export const acceleratorKeys: Readonly<Record<"kvm" | "tcg", KeyRules>> = {
  kvm: { "kernel-irqchip": /^(?:on|off|split)$/, "kvm-shadow-mem": number, "dirty-ring-size": whole },
  tcg: { thread: /^(?:single|multi)$/, "tb-size": whole, "split-wx": flag, "one-insn-per-tb": flag },
};

/** A processor's model, and one of the features behind it: "+avx2", "pmu=off", "model-id=Intel(R) Xeon(R)". */
export const cpuModel = /^[A-Za-z\d][\w.-]{0,63}$/;
export const cpuFeature =
  /^(?:[+-]?[A-Za-z\d][\w.-]{0,63}(?:=[\w.: -]{0,64})?|model[-_]id=[\w.: ()@/+-]{0,48}|vendor=[\w.: ()@/+!-]{12})$/;
/** A processor that came from another host may be named feature by feature; QEMU 7.2 knows some 400. */
export const mostCpuFeatures = 512;
const mostCpuBytes = 16 * 1024;

const readMachine: OptionReader = (draft, value, option) => {
  const settings = Settings.read(option, value, { implied: "type" });
  const type = settings.take("type", word);
  const accel = settings.take("accel", /^[\w:]{1,64}$/);
  // The destination's own is never in a core dump.
  if (settings.flag("dump-guest-core") === true)
    draft.note(
      `${option} dump-guest-core=on is left out: the destination keeps guests' memory out of core dumps`,
    );
  const pairs = settings.kept(machineKeys);
  settings.end();
  if (type !== undefined) draft.machine.set("type", type);
  if (accel !== undefined) for (const name of accel.split(":")) draft.accelerators.push({ name, pairs: [] });
  for (const { key, value } of pairs) {
    draft.machine.set(key.replaceAll("_", "-"), String(value));
    if (key === "memory-backend") draft.refer(`${option} ${key}`, "object", String(value));
    if (key.startsWith("pflash")) draft.refer(`${option} ${key}`, "drive", String(value));
  }
};

const readAccel: OptionReader = (draft, value, option) => {
  const settings = Settings.read(option, value, { implied: "accel" });
  const name = settings.need("accel", word);
  if (name !== "kvm" && name !== "tcg") throw refused(`${option} ${name}`, "only kvm and tcg can be moved");
  const pairs = asText(settings.kept(acceleratorKeys[name]));
  settings.end();
  draft.accelerators.push({ name, pairs });
};

const readCpu: OptionReader = (draft, value, option) => {
  draft.once(option);
  const [model = "", ...features] = value.split(",", mostCpuFeatures + 2);
  const isKnown = cpuModel.test(model) && features.every((feature) => cpuFeature.test(feature));
  if (value.length > mostCpuBytes || features.length > mostCpuFeatures || !isKnown)
    throw refused(option, "its value is not one that a VM may bring along");
  requireMigratable(features);
  draft.cpu = { model, features };
};

/** QEMU itself migrates no processor of these kinds (target/i386/kvm/kvm.c, invtsc_mig_blocker). */
function requireMigratable(features: readonly string[]): void {
  if (features.some((feature) => /^migratable=(?:off|no|false|n)$|^-migratable$/.test(feature)))
    throw refused(
      "-cpu migratable=no",
      "what it gives the guest of its host's processor cannot be moved",
      "Start the VM without it.",
    );
  const isSteady = features.some((feature) => /^\+?invtsc(?:=(?:on|yes|true|y))?$/.test(feature));
  const isTold = features.some((feature) => feature.startsWith("tsc-frequency="));
  if (isSteady && !isTold)
    throw refused(
      "-cpu invtsc",
      "it promises the guest a clock rate that another host does not have",
      "Start the VM without it, or with tsc-frequency= beside it.",
    );
}

const readMemory: OptionReader = (draft, value, option) => {
  draft.once(option);
  const settings = Settings.read(option, value, { implied: "size" });
  const pairs = settings.kept(keysOfPlain(plainRules[option]!, [])!);
  settings.end();
  const given = valueIn(pairs, "size");
  if (given !== undefined && ramBytesOf(given) === null)
    throw refused(option, "no host has that much memory");
  draft.plain(option, pairs);
};

/** Bytes of a VM's RAM: -m, or what its only memory backend has, or QEMU's default of 128 MiB. */
export function ramOf({ machinePairs, parts }: Pick<VmModel, "machinePairs" | "parts">): number {
  const plain = (option: string) =>
    parts.flatMap((part) => (part.kind === "plain" && part.option === option ? [part.pairs] : []));
  const backend = valueIn(machinePairs, "memory-backend");
  const given =
    plain("-m").map((pairs) => valueIn(pairs, "size"))[0] ??
    plain("-object")
      .filter((pairs) => backend !== undefined && valueIn(pairs, "id") === backend)
      .map((pairs) => valueIn(pairs, "size"))
      .map((size) => (size !== undefined && /^\d+$/.test(size) ? `${size}b` : size))[0];
  return (given === undefined ? null : ramBytesOf(given)) ?? defaultRamBytes;
}

/**
 * The size of -m in bytes: "1G" (or "1GiB"), or a number of MiB; rounded up as QEMU does,
 * and 0 is as good as not given. Null for what is no size, or more than a number holds.
 */
export function ramBytesOf(text: string): number | null {
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?)([bkmgtpe]?)(?:i?b)?$/i.exec(text) ?? [];
  const power = unit === "" ? unitPowers.indexOf("m") : unitPowers.indexOf(unit.toLowerCase());
  const bytes = Math.ceil((Number(digits) * 1024 ** power) / ramStepBytes) * ramStepBytes;
  if (!Number.isSafeInteger(bytes)) return null;
  return bytes === 0 ? defaultRamBytes : bytes;
}

const readName: OptionReader = (draft, value, option) => {
  draft.once(option);
  const settings = Settings.read(option, value, { implied: "guest" });
  const name = settings.take("guest", patterns.text);
  settings.drop(["process", "debug-threads"]);
  settings.end();
  const wrong = name === undefined ? null : checkVmName(name);
  if (wrong !== null) throw refused(option, wrong);
  draft.name = name ?? null;
};

const readUuid: OptionReader = (draft, value, option) => {
  draft.once(option);
  if (!uuid.test(value)) throw refused(option, "it is not a UUID");
  draft.uuid = value;
};

const readOvercommit: OptionReader = (draft, value, option) => {
  const settings = Settings.read(option, value);
  const pairs = settings.kept(keysOfPlain(plainRules[option]!, [])!);
  if (settings.drop(["mem-lock"]).length > 0)
    draft.note("-overcommit mem-lock is left out: the destination locks no memory for a VM");
  settings.end();
  if (pairs.length > 0) draft.plain(option, pairs);
};

/** Readers of the options that take a value. */
export const machineOptions: Readonly<Record<string, OptionReader>> = {
  "-machine": readMachine,
  "-M": (draft, value) => readMachine(draft, value, "-machine"),
  "-accel": readAccel,
  "-cpu": readCpu,
  "-m": readMemory,
  "-name": readName,
  "-uuid": readUuid,
  "-overcommit": readOvercommit,
};

/** Readers of those that take none. Newer versions of QEMU know the two latter as keys of -machine alone. */
export const machineSwitches: Readonly<Record<string, OptionReader>> = {
  "-enable-kvm": (draft) => void draft.accelerators.push({ name: "kvm", pairs: [] }),
  "-no-acpi": (draft) => void draft.machine.set("acpi", "off"),
  "-no-hpet": (draft) => void draft.machine.set("hpet", "off"),
};

/** A distribution's own PC ("pc-i440fx-8.1+pve0") is no board that others lack: it has a name that they do not know. */
function whyNotType(system: QemuDefinition["system"], type: string): string {
  if (type === "") return "there is none";
  if (system === "aarch64") return `"${shown(type)}" is not among the boards that can be moved; "virt" is`;
  const plain = /^(?:pc|q35|pc-(?:i440fx|q35)-\d+\.\d+)(?=[^\w.-])/.exec(type)?.[0];
  return plain === undefined
    ? `"${shown(type)}" is not among the boards that can be moved; pc, q35 and microvm are`
    : `only this host's make of QEMU has "${shown(type)}". Start the VM with "${plain}", which others have as well`;
}

type MachineModel = Pick<QemuDefinition, "machine" | "machinePairs" | "accel" | "accelPairs"> & {
  cpu: CpuModel | null;
};

/**
 * The machine, once the whole command line is read. `byKvm` is true for a program called kvm, whose
 * accelerator is KVM if none is named (accel/accel-system.c).
 * @throws MigrateError "policy" if its type or its accelerator cannot be taken over.
 */
export function machineOf(draft: Draft, system: QemuDefinition["system"], byKvm: boolean): MachineModel {
  const { type = system === "x86_64" ? "pc" : "", ...settings } = Object.fromEntries(draft.machine);
  if (!machineTypes[system].test(type)) throw refused("-machine type", whyNotType(system, type));
  const [first = { name: byKvm ? "kvm" : "tcg", pairs: [] }] = draft.accelerators;
  if (first.name !== "kvm" && first.name !== "tcg")
    throw refused("-machine accel", "only kvm and tcg can be moved");
  const machinePairs: TextPair[] = Object.entries(settings)
    // The accelerator's own switch, which tcg does not have.
    .filter(([key]) => first.name === "kvm" || key !== "kernel-irqchip")
    .map(([key, value]) => ({ key, value }));
  if (draft.nographic && settings.graphics === undefined)
    machinePairs.push({ key: "graphics", value: "off" });
  return {
    machine: type,
    machinePairs,
    accel: first.name,
    accelPairs: first.pairs,
    cpu: draft.cpu,
  };
}
