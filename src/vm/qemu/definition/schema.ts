/**
 * What a model from another host, or from a vm.json, may hold: the same lists that hold for a command line. Nothing
 * is taken over that is not on one of them, and unknown fields are refused: whoever leaves out what he does not know
 * starts another VM. Pure.
 */
import * as v from "valibot";
import { MigrateError } from "../../../protocol/errors.ts";
import { fieldPath, named, text } from "../../../protocol/fields.ts";
import { limits } from "../../../protocol/limits.ts";
import { checkFileName } from "../../../protocol/names.ts";
import { printable } from "../../../protocol/printable.ts";
import { chardevId, chardevKeys } from "./chardevs.ts";
import { commandLine } from "./command-line.ts";
import { parseDefinition } from "./definition.ts";
import { drivers, harmless, properties, referring } from "./device-rules.ts";
import { withSilence } from "./devices.ts";
import { driveRule, fileKeys, nodeFlags, nodeKeys } from "./disks.ts";
import {
  acceleratorKeys,
  cpuFeature,
  cpuModel,
  machineKeys,
  machineTypes,
  mostCpuFeatures,
} from "./machine.ts";
import { hasDefaultNic, modelOf, type NetworkPart, type Part, type VmModel } from "./model.ts";
import { cardKeys, cardModels, userKeys } from "./network.ts";
import { textOf } from "./option-syntax.ts";
import { keysOfPlain, plainRules } from "./plain-rules.ts";
import { type KeyRules, patterns, type ValueRule } from "./settings.ts";

const notListed = "is not among what a VM may bring along";

const fitting = (rule: ValueRule) =>
  v.pipe(
    v.string(notListed),
    v.check((text) => rule.test(text), notListed),
  );
const place = v.pipe(v.number(notListed), v.integer(notListed), v.minValue(0), v.maxValue(limits.files - 1));

const key = v.pipe(v.string(notListed), v.regex(/^[\w.-]{1,64}$/, notListed));
const textValue = text(limits.modelTextBytes);
const pairsOf = <Value extends v.GenericSchema>(value: Value) =>
  v.pipe(v.array(v.strictObject({ key, value }), notListed), v.maxLength(limits.modelPairs));

/** Keys with values; whether they are known is asked of each list (`listed`). */
const pairs = pairsOf(textValue);
const jsonPairs = pairsOf(
  v.union([textValue, v.pipe(v.number(), v.safeInteger()), v.boolean(), v.null()], notListed),
);
type Pairs = v.InferOutput<typeof jsonPairs>;

/** Why some pairs are refused, by a rule for each key; null if they are not. */
function wrongIn(
  given: Pairs,
  ruleOf: (key: string) => ValueRule | undefined,
  repeats: readonly string[] = [],
) {
  const seen = new Set<string>();
  for (const { key, value } of given) {
    if (seen.has(key) && !repeats.includes(key)) return `${key} is given twice`;
    seen.add(key);
    if (ruleOf(key)?.test(textOf(value)) !== true) return `${key} ${notListed}`;
  }
  return null;
}

const inTable =
  (...tables: readonly KeyRules[]) =>
  (key: string): ValueRule | undefined =>
    tables.find((table) => Object.hasOwn(table, key))?.[key];

/** A check of a whole part, whose sentence names what of it is wrong. */
const check = <Part>(wrong: (part: Part) => string | null) =>
  v.check<Part, (issue: { input: Part }) => string>(
    (part) => wrong(part) === null,
    ({ input }) => wrong(input) ?? notListed,
  );

const id = fitting(patterns.id);

const plain = v.pipe(
  v.strictObject({
    kind: v.literal("plain"),
    option: fitting({ test: (option) => Object.hasOwn(plainRules, option) }),
    pairs,
  }),
  check(({ option, pairs }) => {
    const rule = plainRules[option];
    const keys = rule === undefined ? null : keysOfPlain(rule, pairs);
    if (rule === undefined || keys === null) return `${option} ${notListed}`;
    const missing = rule.needed?.find((key) => !pairs.some((pair) => pair.key === key));
    if (missing !== undefined) return `${option} has no ${missing}`;
    const wrong = wrongIn(pairs, inTable(keys), rule.repeats);
    return wrong === null ? null : `${option} ${wrong}`;
  }),
);

const file = v.strictObject({
  kind: v.literal("file"),
  option: v.picklist(["-kernel", "-initrd", "-bios"]),
  file: place,
});

const drive = v.pipe(
  v.strictObject({ kind: v.literal("drive"), file: v.nullable(place), pairs }),
  check(({ pairs }) => wrongIn(pairs, (key) => (key === "read-only" ? patterns.flag : driveRule(key)))),
);

const blockdev = v.pipe(
  v.strictObject({
    kind: v.literal("blockdev"),
    file: place,
    node: fitting(patterns.node),
    pairs: jsonPairs,
    below: jsonPairs,
  }),
  check(
    ({ pairs, below }) =>
      wrongIn(pairs, inTable(nodeFlags, nodeKeys)) ?? wrongIn(below, inTable(nodeFlags, fileKeys)),
  ),
);

const device = v.pipe(
  v.strictObject({
    kind: v.literal("device"),
    driver: fitting({ test: (driver) => drivers.has(driver) }),
    json: v.boolean(),
    pairs: jsonPairs,
  }),
  check(({ driver, pairs }) => {
    const wrong = wrongIn(pairs, (key) => {
      // A card whose ROM was taken away has none here either.
      if (key === "romfile") return /^$/;
      if (key === "id" || Object.hasOwn(referring, key)) return patterns.id;
      return properties.has(key) ? harmless : undefined;
    });
    return wrong === null ? null : `${driver} ${wrong}`;
  }),
);

const chardev = v.pipe(
  v.strictObject({
    kind: v.literal("chardev"),
    id: fitting({ test: (text) => chardevId.test(text) && !text.startsWith("compat_monitor") }),
    backend: v.picklist(["socket", "null", "ringbuf", "tpm"]),
    pairs,
    log: v.boolean(),
  }),
  check(({ backend, pairs }) => wrongIn(pairs, inTable(chardevKeys(backend)))),
);

const serial = v.strictObject({ kind: v.literal("serial"), chardev: id });

const network = v.pipe(
  v.strictObject({
    kind: v.literal("network"),
    option: v.picklist(["-netdev", "-nic"]),
    id: v.nullable(id),
    source: v.picklist(["user", "bridge", "other", "none"]),
    header: v.boolean(),
    restricted: v.boolean(),
    network: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(limits.modelParts)),
    pairs,
  }),
  check(({ option, id, source, pairs }) => {
    if (option === "-netdev" && id === null) return "has no id";
    return wrongIn(
      pairs,
      inTable(option === "-nic" ? { ...cardKeys, model: cardModels } : {}, source === "user" ? userKeys : {}),
    );
  }),
);

const modelSchema = v.pipe(
  v.strictObject({
    uuid: v.nullable(fitting(patterns.uuid)),
    system: v.picklist(["x86_64", "aarch64"]),
    accel: v.picklist(["kvm", "tcg"]),
    accelPairs: pairs,
    machine: v.string(),
    machinePairs: pairs,
    cpu: v.nullable(
      v.strictObject({
        model: fitting(cpuModel),
        features: v.pipe(v.array(fitting(cpuFeature)), v.maxLength(mostCpuFeatures)),
      }),
    ),
    files: v.pipe(
      v.array(
        v.strictObject({
          kind: v.picklist(["disk", "boot"]),
          name: named(checkFileName),
          format: v.picklist(["raw", "qcow2"]),
          node: v.nullable(fitting(patterns.node)),
        }),
      ),
      v.maxLength(limits.files),
    ),
    noDefaults: v.boolean(),
    parts: v.pipe(
      v.array(v.variant("kind", [plain, file, drive, blockdev, device, chardev, serial, network])),
      v.maxLength(limits.modelParts),
    ),
  }),
  check(({ system, machine, machinePairs, accel, accelPairs }) => {
    if (!machineTypes[system].test(machine)) return `the machine type ${notListed}`;
    const wrong =
      wrongIn(machinePairs, inTable(machineKeys)) ?? wrongIn(accelPairs, inTable(acceleratorKeys[accel]));
    return wrong === null ? null : `of the machine, ${wrong}`;
  }),
);

/** A place that is no host's: to see what a model becomes. */
const nowhere = {
  file: ({ name }: { name: string }) => `/vm/${name}`,
  socketFolder: "/run",
  tpmSocket: "/run/swtpm",
  allowTcg: false,
  kvmUsable: true,
  net: { kind: "none" },
  keepsLines: false,
} as const;

/**
 * The model that is in a value of unknown origin. It is taken over only if the command line that is made of it reads
 * as that model again, by the reader that judges command lines: what one part says of another (an id that is there
 * twice, a device on a drive that is not) is judged there.
 * @throws MigrateError "policy" that names the first thing that is not on a list, and holds no value of it.
 */
export function readModel(value: unknown): VmModel {
  // The library's own sentences hold what came.
  const result = v.safeParse(modelSchema, value, { abortEarly: true, message: notListed });
  if (!result.success) {
    const [issue] = result.issues;
    const where = fieldPath(issue.path)
      .replaceAll(/[^\w.[\]-]/g, "?")
      .slice(0, 80);
    const what = printable(issue.message, " ").slice(0, 160);
    throw new MigrateError(
      "policy",
      `the VM's definition is refused: ${where === "" ? "" : `${where} `}${what}`,
    );
  }
  // Of an older version: what QEMU would add to it by itself is the host's own sound.
  const said = { ...(result.output as VmModel), parts: withSilence(result.output.parts as Part[]) };
  const model = cutOff(said);
  const binary = `qemu-system-${model.system}`;
  const again = modelOf(parseDefinition(commandLine({ ...model, name: null }, { ...nowhere, binary })));
  if (inNormalForm(again) !== inNormalForm(model))
    throw new MigrateError("policy", "the VM's definition is refused: its parts contradict each other");
  return said;
}

/** The model with nothing behind its cards: what is behind them is each host's own. */
function cutOff(model: VmModel): VmModel {
  const nic: Part[] = hasDefaultNic(model)
    ? [{ kind: "plain", option: "-nic", pairs: [{ key: "value", value: "none" }] }]
    : [];
  return {
    ...model,
    parts: [...model.parts.map((part) => (part.kind === "network" ? severed(part) : part)), ...nic],
  };
}

function severed(part: NetworkPart): NetworkPart {
  const pairs = part.pairs.filter(({ key }) => key === "model" || Object.hasOwn(cardKeys, key));
  return { ...part, source: "none", header: false, restricted: false, network: 0, pairs };
}

/** As text; and which network a card is on does not count once nothing is behind it. */
function inNormalForm(model: VmModel): string {
  const parts = model.parts.map((part) => (part.kind === "network" ? { ...part, network: 0 } : part));
  return JSON.stringify({ ...model, parts }, (_, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
