/**
 * The command line of the QEMU that the destination starts for a VM, made from what the source offers: it
 * names only this host's own paths.
 */
import { basename } from "node:path";
import { kvmUsable, which } from "../../../platform/host.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Offer, OfferedMachine } from "../../../protocol/offer.ts";
import type { Confinement } from "../../../vm/confinement/confinement.ts";
import type { UserRange } from "../../../vm/confinement/vm-user.ts";
import { commandLine, type NetPolicy } from "../../../vm/qemu/definition/command-line.ts";
import type { VncPolicy } from "../../../vm/qemu/definition/consoles/display.ts";
import type { VmModel } from "../../../vm/qemu/definition/definition.ts";
import { hasTpm } from "../../../vm/qemu/definition/model.ts";
import { NetworkArguments } from "../../../vm/qemu/definition/network-arguments.ts";
import { escapeCommas } from "../../../vm/qemu/definition/option-syntax.ts";
import { readModel } from "../../../vm/qemu/definition/schema.ts";
import { checkHostRoom } from "../../../vm/qemu/host-room.ts";
import { RunFolder } from "../../../vm/qemu/run-folder.ts";
import { tpmSocketName } from "../../../vm/qemu/swtpm.ts";

/** What this destination allows a running VM. */
export interface QemuPolicy {
  /** A VM that ran with KVM may run without it if this host has none. */
  allowTcg: boolean;
  net: NetPolicy;
  /** Whom VMs run as, if that was said: what `confinement` was found with. */
  users?: UserRange | "off" | undefined;
  /** What shows a VM's screen; nothing if absent. */
  vnc?: VncPolicy | undefined;
  /** How the VM's programs are confined; null for tests that are not about that. */
  confinement: Confinement | null;
}

/** Names in the run folder, in addition to the VM's own sockets. */
export const vmLinkName = "vm";
export const incomingName = "migrate-incoming";
export const nbdName = "migrate-nbd";
/**
 * A second QMP socket, through which `migrate resolve` reaches a VM while a `migrate serve` holds the first.
 */
export const spareQmpName = "migrate-qmp";

const refusal = (message: string, hint?: string) =>
  new MigrateError("policy", message, { side: "destination", hint });

/**
 * Checks an offer of a running VM before anything is made for it (SPEC.md, VM-1 to VM-3). Returns the VM that
 * its definition describes. Throws MigrateError "policy" or "limit", whose message names what is refused.
 */
export function checkMachine(offer: Offer, policy: QemuPolicy | null): VmModel {
  const machine = offer.machine!;
  if (policy === null) {
    throw refusal("the destination takes VMs in, and starts none: it serves without --qemu");
  }
  if (offer.mode !== "move") throw refusal("a VM that runs can be moved, not copied");
  const definition = readModel(machine.definition);
  if (definition.files.length === 0) throw refusal("the VM has no file at all");
  const disks = definition.files.filter(({ kind }) => kind === "disk");
  const asFiles = machine.live ? definition.files.filter(({ kind }) => kind === "boot") : definition.files;
  const mirrored = machine.live ? disks : [];
  const files = (list: readonly { kind: string; name: string }[]) =>
    JSON.stringify(list.map(({ kind, name }) => [kind, name]));
  const images = (list: readonly { name: string; format: string }[]) =>
    JSON.stringify(list.map(({ name, format }) => [name, format]));
  if (files(offer.files) !== files(asFiles) || images(machine.disks) !== images(mirrored)) {
    throw refusal("the files of the offer are not those that the VM's definition names");
  }
  // An image that is declared raw is not looked into, so it must be raw for QEMU as well.
  if (offer.files.some(({ format }, i) => format !== undefined && format !== asFiles[i]!.format)) {
    throw refusal("an image of the offer is declared to be of another format than in the VM's definition");
  }
  requirePrograms(definition, machine.disks);
  checkHostRoom(definition);
  // A trial run: whatever `commandLine` refuses is refused before any byte is sent.
  commandLine(
    { ...definition, name: offer.name },
    {
      ...placeOf(definition, policy),
      file: ({ name }) => `/${offer.name}/${vmLinkName}/${name}`,
      socketFolder: "/",
      tpmSocket: "/",
    },
  );
  return definition;
}

/**
 * Returns the run folder of a VM that arrives. Throws MigrateError "name-invalid" if its name would make the
 * paths of its sockets longer than the system allows (unix(7)).
 */
export function arrivingFolder(home: string, name: string): RunFolder {
  try {
    return RunFolder.at(home, name);
  } catch (thrown) {
    if (!(thrown instanceof MigrateError) || thrown.code !== "home-unusable") throw thrown;
    throw new MigrateError(
      "name-invalid",
      "the VM's name is too long for the sockets that it would have at the destination",
      { side: "destination", hint: thrown.hint, cause: thrown },
    );
  }
}

/**
 * Throws MigrateError "name-invalid" as `arrivingFolder`, and "name-taken" if programs of another VM of that name run
 * here: what would be found when the VM's QEMU is to start is found before anything of it is sent.
 */
export function requireRunFolder(home: string, name: string): void {
  const taken = (message: string, cause?: unknown) =>
    new MigrateError("name-taken", message, { side: "destination", cause });
  const run = arrivingFolder(home, name);
  let isInUse: boolean;
  try {
    isInUse = run.isInUse();
  } catch (cause) {
    throw taken(`the destination cannot tell whether an earlier VM named ${name} runs there still`, cause);
  }
  if (isInUse) throw taken(`a VM named ${name} runs at the destination already`);
}

/** How a QEMU is started here: to take in the stream of a VM that arrives, or to boot one that lies here. */
export type Beginning = "arrives" | "boots";

export interface ArrivingCommand {
  argv: string[];
  /** Block nodes of the VM's disks. */
  nodes: string[];
  hasTpm: boolean;
  /** Whether QEMU itself uses the network of this host. */
  network: "host" | "none";
  /** Bridges of which it is handed a port each, as descriptors from `firstTap` on. */
  bridges: string[];
}

/** The first descriptor that is handed to QEMU, behind standard error. */
export const firstTap = 3;

/**
 * Returns the command line of a VM's QEMU on this host, and what it needs to be given beside its files. Throws
 * MigrateError "policy" if this host cannot be what the VM needs.
 */
export function commandLineOf(
  definition: VmModel,
  policy: QemuPolicy,
  run: RunFolder,
  beginning: Beginning = "arrives",
): ArrivingCommand {
  const tpm = hasTpm(definition);
  const bridges: string[] = [];
  const at = placeOf(definition, policy, bridges);
  // Here the VM has the name under which it was sent.
  const argv = commandLine(
    { ...definition, name: basename(run.path) },
    {
      ...at,
      file: ({ name }) => `${run.path}/${vmLinkName}/${name}`,
      socketFolder: run.path,
      tpmSocket: tpm ? run.socket(tpmSocketName) : null,
      ...(beginning === "boots" ? { boots: true } : {}),
    },
  );
  argv.push("-qmp", `unix:${escapeCommas(run.socket(spareQmpName))},server=on,wait=off`);
  const nodes = definition.files.flatMap(({ kind, node }) =>
    kind === "disk" && node !== null ? [node] : [],
  );
  const { usesHost } = new NetworkArguments(definition, at.net, at.tap);
  return { argv, nodes, hasTpm: tpm, network: usesHost ? "host" : "none", bridges };
}

function placeOf(definition: VmModel, policy: QemuPolicy, bridges: string[] = []) {
  const tap = (bridge: string) => firstTap - 1 + bridges.push(bridge);
  return {
    binary: which(`qemu-system-${definition.system}`) ?? `/usr/bin/qemu-system-${definition.system}`,
    allowTcg: policy.allowTcg,
    kvmUsable: kvmUsable().usable,
    net: policy.net,
    vnc: policy.vnc,
    ...(policy.confinement === null ? {} : { tap }),
  };
}

/**
 * Throws MigrateError "policy" that names the first program that this host lacks for the VM; `disks` are those whose
 * images are made here.
 */
export function requirePrograms(definition: VmModel, disks: OfferedMachine["disks"]): void {
  const needed = [`qemu-system-${definition.system}`, ...(hasTpm(definition) ? ["swtpm"] : [])];
  const hasQcow2 = definition.files.some(({ kind, format }) => kind === "disk" && format === "qcow2");
  if (hasQcow2 || disks.some(({ image }) => image?.preallocation !== undefined)) needed.push("qemu-img");
  const missing = needed.find((program) => which(program) === null);
  if (missing !== undefined) throw refusal(`the destination has no ${missing} to run this VM with`);
}
