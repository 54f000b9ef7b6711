/** Which VM a command is about, and how it is to leave: the words that `send` and `explain` take alike. */
import type { VmSpec } from "../../migration/providers/candidates.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { checkVmName } from "../../protocol/names.ts";
import { parsePolicy, type VmPolicy } from "../../protocol/vm-policy.ts";
import { systemUri } from "../../vm/libvirt/virsh.ts";
import { droppable, isDroppable } from "../../vm/qemu/images/left-behind.ts";
import { flagOf } from "../cli/arguments.ts";
import { dropped } from "../cli/dropped.ts";
import { duration, list, oneOf, optional, repeated, toggle, wholeNumber } from "../cli/option.ts";
import { usualLanes } from "../cli/threads.ts";

/** What marks a VM that runs: the path of its QEMU's QMP socket follows. */
const qmpPrefix = "qmp:";
/** What marks a domain of libvirt: its name or UUID follows. */
const libvirtPrefix = "libvirt:";
/** QEMU's own downtime limit is the same. */
const usualDowntimeMs = 300;
const notForStop: readonly string[] = ["downtimeLimit", "autoConverge"];

/** The flags that say what the VM is. */
export const vmOptions = {
  name: optional("NAME", "Name of a VM given by its files, or another one for a VM that runs"),
  ram: optional("FILE", "Its saved RAM"),
  disk: list("FILE", "A disk of it: a whole qcow2 image, or a raw one that looks like no other format"),
  rawDisk: list("FILE", "A disk of it that is raw, whatever a guest wrote on it"),
  withoutRam: toggle("Send a VM in a folder as it was switched off, without the saved RAM that lies there"),
  tpmState: optional("DIR", "The state folder of its virtual TPM"),
};

/** The flags that say how it leaves. */
export const leaveOptions = {
  after: optional(
    "WHAT",
    "What becomes of the source's files: keep, rename (to *.migrated, the default) or delete",
    oneOf(["keep", "rename", "delete"]),
  ),
  sealTpm: optional(
    "FILE|-",
    "With --after keep: keep the state of its virtual TPM sealed with the passphrase on FILE's first line; - asks for one. Without --after keep that state is destroyed here",
  ),
  mode: optional(
    "MODE",
    "Of a VM that runs: live (the default), or stop, which stops it before anything is sent",
    oneOf(["live", "stop"]),
  ),
  downtimeLimit: optional(
    "TIME",
    "Of a live move: how long the VM may stand still at its end (default: 300ms)",
    duration(1, 60_000),
  ),
  autoConverge: optional(
    "on|off",
    "Of a live move: slow the VM down if it writes memory faster than the link carries it (default: on)",
    oneOf(["on", "off"]),
  ),
  cpuCheck: optional(
    "on|off",
    "Of a VM that runs: have the destination refuse it, before it is sent, if its processor or its QEMU is not enough (default: on)",
    oneOf(["on", "off"]),
  ),
  announce: optional(
    "on|off",
    "Of a VM that runs: let its network cards say where it is, once it goes on there, or here after all (default: on)",
    oneOf(["on", "off"]),
  ),
  setTime: optional(
    "on|off",
    "Of a VM that stands still for its move: have its guest agent, if it has one, set its clock (default: on)",
    oneOf(["on", "off"]),
  ),
  connect: optional("URI", `Of a VM of libvirt: where that is reached (default: ${systemUri})`),
  drop: repeated(
    `${droppable.join("|")}|ELEMENT`,
    "Move the VM without these, where they cannot be carried: of one that runs, or an element of a domain's XML",
    dropped,
  ),
  multifd: optional(
    "N",
    `Of a VM that runs: N more connections for its RAM, at most ${limits.ramStreams - 1}`,
    wholeNumber(1, limits.ramStreams - 1),
  ),
  copy: toggle("Make a copy: the source keeps the VM and owns it still"),
  vmPolicy: optional(
    "RULES",
    "Rules that the VM keeps wherever it is, besides those that it has: attested (it goes to hosts alone that prove what they run), no-copies",
    parsePolicy,
  ),
  newTpm: toggle(
    "With --copy, of a VM that has a virtual TPM: the copy begins with an empty one, and opens nothing that was sealed to the VM's",
  ),
};

/** The values of these flags. */
export interface VmWords {
  name: string | undefined;
  ram: string | undefined;
  disk: string[];
  rawDisk: string[];
  withoutRam: boolean;
  tpmState: string | undefined;
  after: "keep" | "rename" | "delete" | undefined;
  sealTpm: string | undefined;
  mode: "live" | "stop" | undefined;
  downtimeLimit: number | undefined;
  autoConverge: "on" | "off" | undefined;
  cpuCheck: "on" | "off" | undefined;
  announce: "on" | "off" | undefined;
  setTime: "on" | "off" | undefined;
  connect: string | undefined;
  drop: string[];
  multifd: number | undefined;
  copy: boolean;
  newTpm: boolean;
  vmPolicy: VmPolicy | undefined;
}

/** A command that is about a VM. */
interface Asking {
  /** The command's name, as in "migrate send". */
  command: string;
  refuse: (message: string, hint?: string) => MigrateError;
  /** Whether HOST:PORT has to be there. */
  needsHost: boolean;
}

/** The VM as it was named, and where it is to go. */
export interface WhichVm {
  vm: VmSpec;
  /** HOST:PORT as it was given; absent if none was, where none has to be. */
  host?: string;
  /** True for one that its host can have go on running: only the programs that run it know it. */
  isKept: boolean;
  after: "keep" | "rename" | "delete";
}

/** Reads which VM is meant. Throws MigrateError "usage" if words contradict each other, or one is missing. */
export function whichVm(
  positionals: readonly string[],
  options: VmWords,
  { command, refuse, needsHost }: Asking,
): WhichVm {
  const [first] = positionals;
  const domain = first?.startsWith(libvirtPrefix) ? first.slice(libvirtPrefix.length) : null;
  const running = first?.startsWith(qmpPrefix) === true;
  const files =
    options.ram !== undefined ||
    options.disk.length > 0 ||
    options.rawDisk.length > 0 ||
    options.tpmState !== undefined;
  const adHoc = !running && (files || options.name !== undefined);
  const ofVm = adHoc ? 0 : 1;
  if (positionals.length > ofVm + 1)
    throw refuse(
      "A VM is given by its folder or by its files, not both",
      "Leave out the folder, or --name, --ram, --disk, --raw-disk and --tpm-state.",
    );
  if (positionals.length < ofVm)
    throw refuse("The VM is missing", `Say which: ${command} qmp:PATH, libvirt:NAME or a folder`);
  if (needsHost && positionals.length < ofVm + 1)
    throw refuse("HOST:PORT is missing", `Say where to: ${command} ${first} HOST:PORT`);
  if (adHoc && options.name === undefined)
    throw refuse("--name is missing", "A VM given by its files needs a name.");
  if (running && files)
    throw refuse(
      "The files of a VM that runs are found by its QEMU",
      "Leave out --ram, --disk, --raw-disk and --tpm-state.",
    );
  if (running && first === qmpPrefix)
    throw refuse("The path of the QMP socket is missing", "Write it behind the colon: qmp:/run/web1.qmp");
  if (domain === "") throw refuse("The domain's name is missing", "Write it behind the colon: libvirt:web1");
  if (domain !== null && (files || options.name !== undefined))
    throw refuse("What a domain consists of, and its name, libvirt tells", "Leave out --name and its files.");
  if (domain !== null && options.copy) throw refuse("A domain can be moved, not copied", "Leave out --copy.");
  if (domain === null && options.connect !== undefined)
    throw refuse("--connect is about a VM of libvirt, which is given as libvirt:NAME");
  if (running && options.copy) throw refuse("A VM that runs can be moved, not copied", "Leave out --copy.");
  requireApt(options, { running, domain, adHoc }, refuse);
  const how = {
    live: options.mode !== "stop",
    downtimeLimitMs: options.downtimeLimit ?? usualDowntimeMs,
    autoConverge: options.autoConverge !== "off",
    workers: usualLanes(),
  };
  const host = positionals[ofVm];
  const after = options.copy ? "keep" : (options.after ?? "rename");
  const rest = {
    ...(host === undefined ? {} : { host }),
    isKept: running || domain !== null,
    after,
  } as const;
  if (running)
    return {
      ...rest,
      vm: {
        ...how,
        qmp: first!.slice(qmpPrefix.length),
        name: options.name,
        drop: options.drop.filter(isDroppable),
        cpuCheck: options.cpuCheck !== "off",
        announces: options.announce !== "off",
        setsTime: options.setTime !== "off",
        after: options.after,
        channels: options.multifd ?? 0,
      },
    };
  if (domain !== null)
    return {
      ...rest,
      vm: {
        ...how,
        libvirt: domain,
        connect: options.connect ?? systemUri,
        drop: options.drop,
        setsTime: options.setTime !== "off",
      },
    };
  return {
    ...rest,
    vm: adHoc
      ? {
          name: options.name ?? "",
          ram: options.ram,
          disks: options.disk,
          rawDisks: options.rawDisk,
          tpmStateDir: options.tpmState,
          newTpm: options.newTpm,
        }
      : { folder: first ?? "", withoutRam: options.withoutRam, newTpm: options.newTpm },
  };
}

/** Throws MigrateError "usage" for a flag that is not about such a VM. */
function requireApt(
  options: VmWords,
  { running, domain, adHoc }: { running: boolean; domain: string | null; adHoc: boolean },
  refuse: Asking["refuse"],
): void {
  const liveFlag = (["mode", "multifd", "downtimeLimit", "autoConverge"] as const).find(
    (flag) =>
      options[flag] !== undefined &&
      ((!running && domain === null) || (options.mode === "stop" && notForStop.includes(flag))),
  );
  if (liveFlag !== undefined)
    throw refuse(
      running || domain !== null
        ? `${flagOf(liveFlag)} is about a live move`
        : `${flagOf(liveFlag)} is about a VM that runs, which is given as qmp:PATH`,
    );
  if (options.withoutRam && (running || adHoc || domain !== null))
    throw refuse(
      "--without-ram is about a VM that is given by its folder",
      adHoc ? "Leave out --ram." : "A VM that runs has its RAM in QEMU.",
    );
  for (const flag of ["cpuCheck", "announce"] as const)
    if (options[flag] !== undefined && !running)
      throw refuse(`${flagOf(flag)} is about a VM that runs, which is given as qmp:PATH`);
  if (options.setTime !== undefined && (options.mode !== "stop" || (!running && domain === null)))
    throw refuse("--set-time is about a VM that is stopped for its move: --mode stop");
  if (options.drop.length > 0 && !running && domain === null)
    throw refuse("--drop is about a VM that runs, which is given as qmp:PATH, or a domain of libvirt");
  const strange = running ? options.drop.find((what) => !isDroppable(what)) : undefined;
  if (strange !== undefined)
    throw refuse(`--drop takes ${droppable.join(" and ")} of a VM that runs, not ${strange}`);
  if (options.drop.includes("snapshots") && options.mode === "stop")
    throw refuse("--drop snapshots is about a live move", "--mode stop keeps the snapshots.");
  if (options.newTpm && !options.copy)
    throw refuse("--new-tpm is about --copy", "A VM that is moved takes its virtual TPM along.");
  if (options.sealTpm !== undefined && options.after !== "keep")
    throw refuse("--seal-tpm is about --after keep", "Without it nothing of a virtual TPM stays here.");
  if (options.copy && options.after !== undefined)
    throw refuse("--copy and --after exclude each other", "A copy leaves the source's files as they are.");
}

/** The name of a VM at the destination. Throws MigrateError "usage"; its message ends a sentence that begins with the flag. */
export function vmName(text: string): string {
  const wrong = checkVmName(text);
  if (wrong !== null) throw new MigrateError("usage", `is no name of a VM: ${wrong}`);
  return text;
}

/** What a destination has to take for this VM. */
export const needsOf = (vm: VmSpec) => ({ qemu: "qmp" in vm, libvirt: "libvirt" in vm });
