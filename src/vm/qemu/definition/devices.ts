/** -device, -global, -object and -audiodev: the parts of the VM, by the lists of device-rules.ts. Pure. */
import {
  boardParts,
  drivers,
  harmless,
  objectKeys,
  properties,
  referring,
  soundCards,
  unmigratable,
} from "./device-rules.ts";
import type { Draft, OptionReader } from "./draft.ts";
import type { Pair, Part } from "./model.ts";
import { refused, shown, writePairs } from "./option-syntax.ts";
import { noFloppy } from "./other-options.ts";
import { patterns, Settings } from "./settings.ts";

const { id, word } = patterns;

const propertyRule = (key: string) => (properties.has(key) ? harmless : undefined);

/** The error for a device that no move can carry; `instead` is what is as good, and can be moved. */
export function cannotMigrate(what: string, instead: string): Error {
  return refused(what, "QEMU cannot migrate such a device", `Start the VM with ${instead} instead.`);
}

const readDevice: OptionReader = (draft, value, option) => {
  const settings = Settings.read(option, value, { implied: "driver", json: true });
  const driver = settings.need("driver", word);
  if (Object.hasOwn(unmigratable, driver)) throw cannotMigrate(`${option} ${driver}`, unmigratable[driver]!);
  if (!drivers.has(driver))
    throw refused(
      `${option} ${shown(driver)}`,
      driver === "floppy" ? noFloppy : "it is not among the devices that a VM may bring along",
    );
  // A card whose ROM was taken away has none at the destination either; any other name is refused.
  const romless = settings.take("romfile", /^$/) !== undefined;
  const own = settings.take("id", id);
  const references: Pair[] = [];
  for (const [key, kind] of Object.entries(referring)) {
    const to = settings.take(key, id);
    if (to === undefined) continue;
    draft.refer(`${option} ${driver} ${key}`, kind, to);
    references.push({ key, value: to });
  }
  const pairs = settings.keptBy(propertyRule);
  settings.end();
  if (driver === "isa-serial") draft.namesSerial = true;
  draft.parts.push({
    kind: "device",
    driver,
    json: settings.json,
    pairs: [
      ...(own === undefined ? [] : [{ key: "id", value: own }]),
      ...references,
      ...(romless ? [{ key: "romfile", value: "" }] : []),
      ...pairs,
    ],
  });
};

/** "driver.property=value", as QEMU reads it (softmmu/qdev-monitor.c); the long form has three keys. */
const shortGlobal = /^([^.=]{1,63})\.([^=]{1,63})=(.*)$/s;

const readGlobal: OptionReader = (draft, value, option) => {
  const [driver, property, text] = globalOf(value, option);
  const dotted = `${driver}.${property}`;
  if (!drivers.has(driver) && !boardParts.has(driver))
    throw refused(`${option} ${shown(dotted)}`, "it is not among the devices that a VM may bring along");
  if (!properties.has(property) || !harmless.test(text))
    throw refused(`${option} ${shown(dotted)}`, "it is not among what a VM may bring along");
  draft.plain(option, [
    { key: "driver", value: driver },
    { key: "property", value: property },
    { key: "value", value: text },
  ]);
};

function globalOf(value: string, option: string): [driver: string, property: string, value: string] {
  const [, driver, property, text] = shortGlobal.exec(value) ?? [];
  if (driver !== undefined && property !== undefined && text !== undefined) return [driver, property, text];
  const settings = Settings.read(option, value);
  const long: [string, string, string] = [
    settings.need("driver", word),
    settings.need("property", word),
    settings.need("value", harmless),
  ];
  settings.end();
  return long;
}

/** Why some objects are refused, for the sentence that a person reads. */
const refusedObjects: Readonly<Record<string, string>> = {
  "memory-backend-file": "its memory is a file of the host",
  secret: "a secret does not leave its host. Start the VM without it, and without what it opens",
};

const readObject: OptionReader = (draft, value, option) => {
  const settings = Settings.read(option, value, { implied: "qom-type", json: true });
  const type = settings.need("qom-type", word);
  const keys = Object.hasOwn(objectKeys, type) ? objectKeys[type] : undefined;
  if (keys === undefined) {
    const why = Object.hasOwn(refusedObjects, type) ? refusedObjects[type] : undefined;
    throw refused(`${option} ${shown(type)}`, why ?? "it is not among the objects that a VM may bring along");
  }
  const own = settings.need("id", id);
  const dropped = settings.drop(["host-nodes", "policy"]);
  if (dropped.length > 0)
    draft.note(`-object ${own}: which NUMA nodes of the host it lies on is left to the destination`);
  const pairs = settings.kept(keys);
  settings.end();
  draft.define("object", own, option);
  draft.plain(option, [{ key: "qom-type", value: type }, { key: "id", value: own }, ...pairs]);
};

const readAudio: OptionReader = (draft, value, option) => {
  const settings = Settings.read(option, value, { implied: "driver", json: true });
  const driver = settings.need("driver", word);
  const own = settings.need("id", id);
  // How the source plays and records is its host's own affair.
  if (driver === "none") settings.end();
  else draft.note(`${option} ${shown(own)}: ${quiet}`);
  draft.define("audiodev", own, option);
  draft.plain(option, silent(own));
};

const quiet = "the destination plays and records no sound of a VM";
/** What sound cards without an audiodev are given. */
const silentId = "migrate-silence";

function silent(id: string): { key: string; value: string }[] {
  return [
    { key: "driver", value: "none" },
    { key: "id", value: id },
  ];
}

/**
 * Gives each sound card that has no audiodev a silent one: QEMU would let it play and record on its host. Idempotent.
 */
export function withSilence(parts: readonly Part[]): Part[] {
  const isLoud = (part: Part) =>
    part.kind === "device" &&
    soundCards.has(part.driver) &&
    !part.pairs.some(({ key }) => key === "audiodev");
  if (!parts.some(isLoud)) return [...parts];
  const hasSilence = parts.some(
    (part) =>
      part.kind === "plain" &&
      part.option === "-audiodev" &&
      part.pairs.some(({ value }) => value === silentId),
  );
  const to: Pair = { key: "audiodev", value: silentId };
  return [
    ...parts.map((part) =>
      isLoud(part) && part.kind === "device" ? { ...part, pairs: [...part.pairs, to] } : part,
    ),
    ...(hasSilence ? [] : [{ kind: "plain" as const, option: "-audiodev", pairs: silent(silentId) }]),
  ];
}

/** As `withSilence`, for a command line that is read; said where anything is silenced. To be called once all is read. */
export function silenceSound(draft: Draft, parts: readonly Part[]): Part[] {
  const silenced = withSilence(parts);
  if (silenced.length > parts.length) draft.note(`Sound: ${quiet}`);
  return silenced;
}

/** Readers of the options that take a value. */
export const deviceOptions: Readonly<Record<string, OptionReader>> = {
  "-device": readDevice,
  "-global": readGlobal,
  "-object": readObject,
  "-audiodev": readAudio,
};

/** A device as its option's value, in the form that it had. */
export function deviceValue(driver: string, json: boolean, pairs: readonly Pair[]): string {
  const all = [{ key: "driver", value: driver }, ...pairs];
  if (!json) return writePairs(all, "driver");
  return JSON.stringify(Object.fromEntries(all.map(({ key, value }) => [key, value])));
}
