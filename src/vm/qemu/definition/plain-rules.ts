/**
 * Options whose meaning is the same on every host: each with its keys, and what their values look like. The same
 * lists hold for a command line that is read here and for a model that somebody sends. Pure.
 */
import { visiblePattern } from "../../../protocol/printable.ts";
import { boardParts, drivers, harmless, objectKeys, properties } from "./device-rules.ts";
import type { Pair, PlainPart } from "./model.ts";
import { valueIn, writePairs } from "./option-syntax.ts";
import { type KeyRules, patterns, type ValueRule } from "./settings.ts";

const { whole, number, size, flag, id, word, text, uuid } = patterns;

export interface PlainRule {
  /** Key of a first value that has none, and of a word that is an option's whole value. */
  implied?: string;
  /** The keys, or those that the other pairs allow; null if these do not fit each other. */
  keys: KeyRules | ((pairs: readonly Pair[]) => KeyRules | null);
  /** Keys without which it is nothing. */
  needed?: readonly string[];
  /** The option may be there more than once. */
  many?: boolean;
  /** Keys that may be there more than once within it. */
  repeats?: readonly string[];
  /** "word": its value is the implied key's and nothing else, commas and all. "switch": it has none. */
  form?: "word" | "switch";
}

const oneOf = (...words: string[]): ValueRule => ({ test: (value) => words.includes(value) });

const numaKeys: Readonly<Record<string, KeyRules>> = {
  node: { nodeid: whole, cpus: /^\d{1,5}(?:-\d{1,5})?$/, mem: size, initiator: whole, memdev: id },
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

/** Those of the type, which is one of the pairs, and the type itself. */
const keysByType =
  (key: string, keysOf: (type: string) => KeyRules | undefined) => (pairs: readonly Pair[]) => {
    const type = valueIn(pairs, key);
    const keys = type === undefined ? undefined : keysOf(type);
    return keys === undefined ? null : { ...keys, [key]: word };
  };

const own = <Value>(table: Readonly<Record<string, Value>>, key: string): Value | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined;

const switchRule: PlainRule = { keys: {}, form: "switch" };
const wordRule = (value: ValueRule, more: Partial<PlainRule> = {}): PlainRule => ({
  implied: "value",
  keys: { value },
  needed: ["value"],
  form: "word",
  ...more,
});

/** QEMU 7.2 man page, qemu(1), for all of them. */
export const plainRules: Readonly<Record<string, PlainRule>> = {
  "-m": { implied: "size", keys: { size, slots: whole, maxmem: size } },
  "-overcommit": { keys: { "cpu-pm": flag }, many: true },
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
  "-numa": {
    implied: "type",
    many: true,
    repeats: ["cpus"],
    needed: ["type"],
    keys: keysByType("type", (type) => own(numaKeys, type)),
  },
  "-object": {
    implied: "qom-type",
    many: true,
    needed: ["qom-type", "id"],
    keys: keysByType("qom-type", (type) => {
      const keys = own(objectKeys, type);
      return keys === undefined ? undefined : { ...keys, id };
    }),
  },
  "-global": {
    many: true,
    needed: ["driver", "property", "value"],
    keys: {
      driver: { test: (driver) => drivers.has(driver) || boardParts.has(driver) },
      property: { test: (property) => properties.has(property) },
      value: harmless,
    },
  },
  "-audiodev": {
    implied: "driver",
    many: true,
    needed: ["driver", "id"],
    keys: { driver: oneOf("none"), id },
  },
  "-mon": {
    many: true,
    needed: ["chardev", "mode"],
    keys: { chardev: id, mode: oneOf("readline", "control") },
  },
  "-tpmdev": {
    implied: "type",
    needed: ["type", "id", "chardev"],
    keys: { type: oneOf("emulator"), id, chardev: id },
  },
  /** What the guest is told: longer than any kernel takes. */
  "-append": wordRule(visiblePattern(0, 4096)),
  "-vga": wordRule(oneOf("std", "cirrus", "vmware", "qxl", "virtio", "none")),
  "-usbdevice": wordRule(oneOf("tablet", "mouse", "keyboard"), { many: true }),
  "-watchdog-action": wordRule(
    oneOf("reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"),
  ),
  "-serial": wordRule(/^(?:mon:)?(?:none|null|vc(?::[\dCx]{1,16})?)$/, { many: true }),
  "-parallel": wordRule(/^(?:none|null|vc(?::[\dCx]{1,16})?)$/, { many: true }),
  "-nic": wordRule(oneOf("none"), { many: true }),
  "-usb": switchRule,
  "-no-reboot": switchRule,
  "-no-shutdown": switchRule,
  "-no-fd-bootchk": switchRule,
  "-only-migratable": switchRule,
};

/** The keys that an option may have beside these pairs; null if the pairs do not fit each other. */
export function keysOfPlain(rule: PlainRule, pairs: readonly Pair[]): KeyRules | null {
  return typeof rule.keys === "function" ? rule.keys(pairs) : rule.keys;
}

/** A part as it stands on a command line. */
export function plainArgv({ option, pairs }: PlainPart): string[] {
  const rule = plainRules[option]!;
  if (rule.form === "switch") return [option];
  if (rule.form === "word") return [option, valueIn(pairs, rule.implied!)!];
  return [option, writePairs(pairs, rule.implied)];
}
