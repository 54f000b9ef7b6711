/**
 * Definitions of VMs that a hostile source made up: what is not refused adds no option, no key of an option, no
 * second argument and no path to the command line that the destination starts.
 */
import { expect, test } from "bun:test";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { printable } from "../../../src/protocol/printable.ts";
import { cardOutcomes, commandLine } from "../../../src/vm/qemu/definition/command-line.ts";
import { serialLines } from "../../../src/vm/qemu/definition/consoles/serial-lines.ts";
import { parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";
import type { Pair, Part, VmModel } from "../../../src/vm/qemu/definition/model.ts";
import { readModel } from "../../../src/vm/qemu/definition/schema.ts";
import { runFolder, storeFolder, testPlace, wireModelOf } from "../../support/guests/qemu-place.ts";
import { barePc, nographicPc, oldPc, q35InJson, virtioPc } from "../../support/guests/typical-vms.ts";
import { hostileTokens } from "../../support/hostile/tokens.ts";
import { type SeededRandom, seeded } from "../../support/system/random.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const place = testPlace();
const tpm = [
  ...["-chardev", "socket,id=t,path=/x/tpm", "-tpmdev", "emulator,id=tpm0,chardev=t"],
  ...["-device", "tpm-tis,tpmdev=tpm0", "-kernel", "/boot/k", "-append", "root=/dev/sda"],
];
const seeds = [virtioPc, nographicPc, barePc, q35InJson, oldPc, { words: tpm }].map(
  ({ words }) => wireModelOf(["qemu-system-x86_64", ...words]) as { [key: string]: Json },
);

const tokens: readonly Json[] = [
  ...hostileTokens,
  ...["\0", "\n", "\ud800", "x -drive", "unix:/x", "tcp:h:1", "on,server=on", "on,host=192.0.2.9"],
  ...["x,file=/etc/shadow", "x,,file=/etc/shadow", ",,,path=/etc/shadow", "x,romfile=/etc/x"],
  ...[
    "plain",
    "drive",
    "device",
    "-m",
    "user",
    "socket",
    "tap",
    "bridge",
    "vfio-pci",
    "loader",
    "isapc",
    "none",
  ],
  ...["memory-backend-file", "secret", "x-remote", "__proto__", "constructor"],
  ...[
    "file",
    "path",
    "mem-path",
    "romfile",
    "filename",
    "host",
    "script",
    "hostfwd",
    "logfile",
    "server",
    "id",
  ],
  ...["net0", "n0", "agent", "two", "migrate-disk-0", "f2", "io1", "qmp", "vm.json", ".hidden"],
  ...[null, true, false, 0, 1, -1, 63, 1e15, 0.5, [], {}, [[]], { key: "file", value: "/etc/shadow" }],
];

/** Every place in a value that something else can be put at. */
function places(value: Json): { holder: { [key: string]: Json } | Json[]; key: string | number }[] {
  if (typeof value !== "object" || value === null) return [];
  const keys = Array.isArray(value) ? value.keys() : Object.keys(value);
  const holder = value as { [key: string]: Json };
  return [...keys].flatMap((key) => [{ holder, key }, ...places(holder[key]!)]);
}

function put({ holder, key }: ReturnType<typeof places>[number], value: Json): void {
  if (key === "__proto__") return;
  (holder as { [key: string]: Json })[key] = value;
}

function mutate(seed: { [key: string]: Json }, random: SeededRandom): { [key: string]: Json } {
  const model = structuredClone(seed);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.pick(places(model));
    const old = (at.holder as { [key: string]: Json })[at.key]!;
    const token = structuredClone(random.pick(tokens));
    switch (random.below(7)) {
      case 0:
        put(at, token);
        break;
      case 1:
        if (typeof old === "string") put(at, old + String(token));
        break;
      case 2:
        if (typeof old === "string") put(at, String(token) + old);
        break;
      case 3:
        if (Array.isArray(old)) old.push(old.length > 0 ? structuredClone(random.pick(old)) : token);
        else if (typeof old === "object" && old !== null)
          put({ holder: old, key: String(random.pick(tokens)) }, token);
        break;
      case 4:
        if (Array.isArray(at.holder)) at.holder.splice(Number(at.key), 1);
        else delete at.holder[at.key];
        break;
      case 5: {
        // What stands somewhere else in a VM's definition: known, and in the wrong place.
        const from = random.pick(places(random.pick(seeds)));
        put(at, structuredClone((from.holder as { [key: string]: Json })[from.key]!));
        break;
      }
      default:
        if (typeof old === "boolean") put(at, !old);
        else if (typeof old === "number") put(at, old + random.below(5) - 2);
    }
  }
  return model;
}

/** The keys of an option's value, as QEMU splits it: at commas that are not doubled. */
function keysOf(value: string, implied: string): string[] {
  const pieces = value.replaceAll(",,", "\0").split(",");
  return pieces.map((piece, at) => {
    const equals = piece.indexOf("=");
    if (equals < 0 && at === 0) return implied;
    return equals < 0 ? `(${piece})` : piece.slice(0, equals);
  });
}

const keysIn = (pairs: readonly Pair[]) => pairs.map(({ key }) => key);
const jsonKeys = (text: string) => Object.keys(JSON.parse(text) as object).sort();
/** Options of one word, which QEMU does not split. */
const words = new Set(
  "-append -vga -usbdevice -watchdog-action -serial -parallel -nic -kernel -initrd -bios".split(" "),
);

/** Sees that a part came to be one option with one value, whose keys are those of the part and the destination's own. */
function checkOption(part: Part, option: string, value: string, model: VmModel): void {
  const sorted = (keys: string[]) => [...keys].sort();
  const expectKeys = (implied: string, keys: string[]) =>
    expect(sorted(keysOf(value, implied))).toEqual(sorted(keys));
  switch (part.kind) {
    case "plain": {
      expect(option).toBe(part.option);
      if (words.has(option)) expect(value).toBe(part.pairs[0]!.value);
      else expectKeys(part.pairs[0]!.key, keysIn(part.pairs));
      break;
    }
    case "file":
      expect(option).toBe(part.option);
      expect(value).toBe(`${storeFolder}/${model.files[part.file]!.name}`);
      break;
    case "serial":
      expect([option, value]).toEqual(["-serial", `chardev:${part.chardev}`]);
      break;
    case "device":
      expect(option).toBe("-device");
      if (part.json) expect(jsonKeys(value)).toEqual(sorted(["driver", ...keysIn(part.pairs)]));
      else expectKeys("driver", ["driver", ...keysIn(part.pairs)]);
      break;
    case "drive": {
      expect(option).toBe("-drive");
      const file = part.file === null ? null : model.files[part.file]!;
      const own = file === null ? [] : ["file", "format"];
      if (file?.node) own.push("node-name");
      if (file?.format === "qcow2") own.push("backing");
      expectKeys(part.pairs[0]?.key ?? "", [...own, ...keysIn(part.pairs)]);
      break;
    }
    case "blockdev": {
      expect(option).toBe("-blockdev");
      const { file, ...format } = JSON.parse(value) as { file: object };
      const outer = (pairs: readonly Pair[]) => keysIn(pairs).map((key) => key.split(".")[0]!);
      const own = ["driver", "node-name", "read-only"];
      if (model.files[part.file]!.format === "qcow2") own.push("backing");
      const unique = (keys: string[]) => sorted([...new Set(keys)]);
      expect(Object.keys(format).sort()).toEqual(unique([...own, ...outer(part.pairs)]));
      expect(Object.keys(file).sort()).toEqual(unique(["driver", "filename", ...outer(part.below)]));
      break;
    }
    case "chardev": {
      expect(option).toBe("-chardev");
      const socket = part.backend === "socket" ? ["path", "server", "wait"] : [];
      // What a serial line says is kept by its keeper, within bounds.
      const logs = part.log && !serialLines(model).includes(part.id);
      const own = part.backend === "tpm" ? ["path"] : [...socket, ...(logs ? ["logfile"] : [])];
      expectKeys("backend", ["backend", "id", ...own, ...keysIn(part.pairs)]);
      break;
    }
    case "network": {
      expect(option).toBe(part.option);
      const all = keysOf(value, "type");
      for (const { key } of part.pairs) all.splice(all.indexOf(key), 1);
      const forms = [["restrict"], ["br"], ["hubid"]].map((own) => [...own, "type"]);
      expect(forms).toContainEqual(all.filter((key) => key !== "id").sort());
      break;
    }
  }
}

/** Where a value may have a slash: text for the guest, and addresses of QEMU's own network. */
const freeText = new Set(["-append", "-smbios"]);

function checkCommand(model: VmModel, command: readonly string[]): void {
  const own = command.indexOf("-accel") + 2 + (model.cpu === null ? 0 : 2);
  let at = own;
  for (const part of model.parts) {
    const option = command[at]!;
    if (part.kind === "plain" && part.pairs.length === 0 && option !== "-append") {
      // A switch, or an option all of whose keys are left out.
      expect(option).toBe(part.option);
      at += /^-(?:usb|no-\w+|no-fd-bootchk|only-migratable)$/.test(option) ? 1 : 2;
      continue;
    }
    checkOption(part, option, command[at + 1]!, model);
    at += 2;
  }
  const rest = command.slice(at);
  expect([[], ["-nic", "user,restrict=on"]]).toContainEqual(rest);
  const before = command.slice(0, own).filter((word) => /^-/.test(word));
  expect(before.filter((word) => word !== "-nodefaults" && word !== "-uuid" && word !== "-cpu")).toEqual([
    ...["-no-user-config", "-sandbox", "-display", "-S", "-incoming", "-qmp", "-machine", "-accel"],
  ]);
  const machine = command[command.indexOf("-machine") + 1]!;
  const added = ["type", "dump-guest-core"];
  expect(keysOf(machine, "type").sort()).toEqual([...added, ...keysIn(model.machinePairs)].sort());
  expect(machine).toEndWith(",dump-guest-core=off");
  for (const [index, word] of command.entries()) {
    expect(word).not.toMatch(/[\p{Cc}\u2028-\u202e]/u);
    if (word === place.binary || freeText.has(command[index - 1] ?? "")) continue;
    const foreign = word
      .replaceAll(new RegExp(`(?<![^=:"])(?:${storeFolder}|${runFolder})/[^/]*?(?=[,"]|$)`, "g"), "")
      .replaceAll(/(?<==)\/dev\/u?random(?=,|$)/g, "")
      .replaceAll(/(?<==)[\da-fA-F.:]+\/[\da-fA-F.:]+(?=,|$)/g, "");
    expect(foreign).not.toContain("/");
  }
}

/** A card's keys may be written in another order. */
const unordered = (word: string) => word.split(",").sort().join();

/** "refused", or "taken" after all that is said above was seen to hold. */
function judge(tampered: unknown): "refused" | "taken" {
  let model: VmModel;
  let command: string[];
  try {
    model = readModel(tampered);
    command = commandLine({ ...model, name: null }, place);
  } catch (thrown) {
    if (!(thrown instanceof MigrateError)) throw thrown;
    expect(["policy", "limit"]).toContain(thrown.code);
    expect(thrown.message).toBe(printable(thrown.message));
    expect(thrown.message).not.toContain("/etc");
    return "refused";
  }
  // What was judged is what came: nothing was dropped or added on the way.
  expect(JSON.parse(JSON.stringify(model))).toEqual(tampered);
  checkCommand(model, command);
  expect(cardOutcomes(model, place.net).length).toBeLessThanOrEqual(model.parts.length + 1);
  // What was taken over can be taken over again.
  const again = commandLine({ ...parseDefinition(command), name: null }, place);
  expect(again.map(unordered)).toEqual(command.map(unordered));
  return "taken";
}

test("what is not tampered with is taken over", () => {
  for (const seed of seeds) expect(judge(seed)).toBe("taken");
});

test("whatever is put into any field of a definition, it adds nothing to the command line", () => {
  const random = seeded("any field of a definition");
  const came = { refused: 0, taken: 0 };
  for (const seed of seeds) {
    for (let index = 0; index < places(seed).length; index++) {
      for (let count = 0; count < 8; count++) {
        const model = structuredClone(seed);
        put(places(model)[index]!, structuredClone(random.pick(tokens)));
        came[judge(model)] += 1;
      }
    }
  }
  console.log("every field of a definition:", came);
  for (const count of Object.values(came)) expect(count).toBeGreaterThan(200);
}, 60_000);

test("5000 definitions that were tampered with add nothing to the command line", () => {
  const random = seeded("tampered definitions");
  const came = { refused: 0, taken: 0 };
  for (let count = 0; count < 5000; count++) came[judge(mutate(random.pick(seeds), random))] += 1;
  console.log("tampered definitions:", came);
  for (const count of Object.values(came)) expect(count).toBeGreaterThan(500);
}, 60_000);

test.each(["isapc", "x-remote", "../q35", "pc,firmware=/etc/shadow", "pc -drive", "", "virt"])(
  "a machine type that a command line could not name is refused: %s",
  (machine) => {
    expect(judge({ ...seeds[0], machine })).toBe("refused");
  },
);
