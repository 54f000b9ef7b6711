/** `migrate ls`: the VMs that run on this host, and those that lie in a store. */
import { realpathSync } from "node:fs";
import { basename, dirname } from "node:path";
import { runsFrom } from "../migration/providers/qemu/booting/runs-from.ts";
import { isSameProcess, type ProcessId } from "../platform/process-id.ts";
import { rulesOf } from "../protocol/vm-policy.ts";
import { formatBytes } from "../terminal/format.ts";
import type { Column } from "../terminal/table.ts";
import { type StoredVm, storedVms } from "../vm/folder/stored-vms.ts";
import { type HostVm, hostVms } from "../vm/qemu/host-vms.ts";
import { runState } from "../vm/qemu/outgoing/guest-watch.ts";
import { Qmp } from "../vm/qemu/qmp/qmp.ts";
import { defineCommand } from "./cli/define-command.ts";
import { optional } from "./cli/option.ts";
import { type DomainRow, domainRows } from "./ls/domain-rows.ts";

interface VmRow {
  name: string;
  /** "stored", "broken", "busy", or of a VM that runs QEMU's own word: running, paused, shutdown, … */
  state: string;
  ramBytes: number | null;
  /** Full paths. */
  disks: readonly string[];
  tpm: boolean;
  /** What `migrate send` takes for it: "qmp:" and a socket's path, or a folder; null if it takes it by none. */
  where: string | null;
  /** Whose it is to run, if that is another program. */
  manager?: "libvirt";
  /** Of a domain of libvirt: whether `migrate send` takes it. */
  movable?: boolean;
  /** Of the QEMU that runs it. */
  pid?: number;
  /** Rules of its own policy that hold; absent if none does. */
  policy?: readonly string[];
  /** Why it is broken, or cannot be moved. */
  reason?: string;
}

/** A QEMU that serves another program lets callers wait. */
const answerMs = 500;
/** QEMU's words for them (qapi/run-state.json) look like this. */
const runStates = /^[a-z][a-z-]{0,23}$/;

const columns: Column<VmRow>[] = [
  { title: "NAME", cell: (row) => row.name || "(none)" },
  { title: "STATE", cell: (row) => row.state },
  { title: "RAM", cell: (row) => (row.ramBytes === null ? "" : formatBytes(row.ramBytes)), align: "right" },
  { title: "DISKS", cell: (row) => row.disks.map((path) => basename(path)).join(" ") },
  { title: "TPM", cell: (row) => (row.tpm ? "yes" : "no") },
  { title: "WHERE", cell: (row) => row.where ?? (row.manager ? `(${row.manager})` : "(no QMP socket)") },
];

export default defineCommand({
  name: "migrate ls",
  summary: "list the VMs that run on this host, and those in a store",
  about:
    "WHERE is what migrate send takes for a VM: of one that runs, the QMP socket of its QEMU (-qmp unix:PATH,server=on). A domain of libvirt is libvirt:NAME, whether it runs or not; why one cannot be moved is said below. A QEMU that serves another program at the moment, a migration for one, does not answer: its VM is busy.",
  options: { store: optional("DIR", "Also list the VMs that lie in this folder of migrate serve") },
  examples: [
    ["migrate ls", "what runs here"],
    ["migrate ls --store /var/lib/vms", "and what has arrived here"],
  ],
  async run({ options, reporter }) {
    const domains = await domainRows();
    // Of what libvirt tells itself, its QEMU is not shown once more.
    const running = hostVms().filter(
      (vm) => !(vm.isLibvirts && domains.some(({ name, state }) => name === vm.name && state !== "off")),
    );
    const stored = options.store === undefined ? [] : storedVms(options.store);
    const idle = stored.filter((vm) => !running.some((other) => runsFrom(other, vm.folder)));
    const rows = [
      ...domains.map(domainRow),
      ...(await Promise.all(running.map(runningRow))),
      ...idle
        .filter(
          ({ folder }) =>
            !domains.some(({ disks }) => disks.some((disk) => dirname(realOf(disk)) === folder)),
        )
        .map(storedRow),
    ];
    reporter.table("vm", columns, rows, "No VM runs here, or none that this user may see.");
    for (const { name, policy } of reporter.json ? [] : rows)
      if (policy !== undefined) reporter.note(`${name} has a policy of its own: ${policy.join(", ")}`);
    for (const { where, reason, manager } of reporter.json ? [] : rows)
      if (reason !== undefined)
        reporter.warn(
          manager === undefined
            ? `${where} is no VM that can be sent: ${reason}`
            : `${where} cannot be moved as it is: ${reason}`,
        );
    return undefined;
  },
});

function realOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function domainRow({ name, state, ramBytes, disks, tpm, movable, reason }: DomainRow): VmRow {
  return {
    ...{ name, state, ramBytes, disks, tpm, movable },
    where: `libvirt:${name}`,
    manager: "libvirt",
    ...(reason === undefined ? {} : { reason }),
  };
}

async function runningRow(vm: HostVm): Promise<VmRow> {
  const { qmpPath, isLibvirts } = vm;
  return {
    name: vm.name ?? "",
    state: isLibvirts || qmpPath === null ? "running" : await stateOf(qmpPath, vm.process),
    ramBytes: vm.ramBytes,
    disks: vm.disks,
    tpm: vm.hasTpm,
    where: isLibvirts || qmpPath === null ? null : `qmp:${qmpPath}`,
    ...(isLibvirts ? { manager: "libvirt" as const } : {}),
    pid: vm.process.pid,
  };
}

/** What the VM's QEMU says of it; "busy" if it does not answer at once. */
async function stateOf(qmpPath: string, process: ProcessId): Promise<string> {
  try {
    using qmp = await Qmp.connect(qmpPath, { timeoutMs: answerMs });
    const state = qmp.peer !== null && isSameProcess(qmp.peer, process) ? await runState(qmp) : "";
    return runStates.test(state) ? state : "busy";
  } catch {
    return "busy";
  }
}

function storedRow(vm: StoredVm): VmRow {
  return {
    name: vm.name,
    state: vm.broken === undefined ? "stored" : "broken",
    ramBytes: vm.ramBytes,
    disks: vm.disks,
    tpm: vm.hasTpm,
    where: vm.folder,
    ...(vm.policy === undefined ? {} : { policy: rulesOf(vm.policy) }),
    ...(vm.broken === undefined ? {} : { reason: vm.broken }),
  };
}
