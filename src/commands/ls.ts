/** `migrate ls`: the VMs that run on this host, and those that lie in a store. */
import { basename } from "node:path";
import { runsFrom } from "../migration/providers/qemu/booting/runs-from.ts";
import { formatBytes } from "../terminal/format.ts";
import type { Column } from "../terminal/table.ts";
import { type StoredVm, storedVms } from "../vm/folder/stored-vms.ts";
import { type HostVm, hostVms } from "../vm/qemu/host-vms.ts";
import { defineCommand } from "./cli/define-command.ts";
import { optional } from "./cli/option.ts";

interface VmRow {
  name: string;
  state: "running" | "stored" | "broken";
  ramBytes: number | null;
  /** Full paths. */
  disks: readonly string[];
  tpm: boolean;
  /** What `migrate send` takes for it: "qmp:" and a socket's path, or a folder. */
  where: string;
  /** Of the QEMU that runs it. */
  pid?: number;
  /** Why it is broken, if it is. */
  reason?: string;
}

const columns: Column<VmRow>[] = [
  { title: "NAME", cell: (row) => row.name || "(none)" },
  { title: "STATE", cell: (row) => row.state },
  { title: "RAM", cell: (row) => (row.ramBytes === null ? "" : formatBytes(row.ramBytes)), align: "right" },
  { title: "DISKS", cell: (row) => row.disks.map((path) => basename(path)).join(" ") },
  { title: "TPM", cell: (row) => (row.tpm ? "yes" : "no") },
  { title: "WHERE", cell: (row) => row.where },
];

export default defineCommand({
  name: "migrate ls",
  summary: "list the VMs that run on this host, and those in a store",
  about:
    "A VM is listed as running if its QEMU has a QMP socket that this user may see (-qmp unix:PATH,server=on). WHERE is what migrate send takes for it.",
  options: { store: optional("DIR", "Also list the VMs that lie in this folder of migrate serve") },
  examples: [
    ["migrate ls", "what runs here"],
    ["migrate ls --store /var/lib/vms", "and what has arrived here"],
  ],
  async run({ options, reporter }) {
    const running = hostVms();
    const stored = options.store === undefined ? [] : storedVms(options.store);
    const idle = stored.filter((vm) => !running.some((other) => runsFrom(other, vm.folder)));
    const rows = [...running.map(runningRow), ...idle.map(storedRow)];
    reporter.table("vm", columns, rows, "No VM runs here, or none that this user may see.");
    for (const { where, reason } of reporter.json ? [] : rows)
      if (reason !== undefined) reporter.warn(`${where} is no VM that can be sent: ${reason}`);
    return undefined;
  },
});

function runningRow(vm: HostVm): VmRow {
  return {
    name: vm.name ?? "",
    state: "running",
    ramBytes: vm.ramBytes,
    disks: vm.disks,
    tpm: vm.hasTpm,
    where: `qmp:${vm.qmpPath}`,
    pid: vm.process.pid,
  };
}

function storedRow(vm: StoredVm): VmRow {
  return {
    name: vm.name,
    state: vm.broken === undefined ? "stored" : "broken",
    ramBytes: vm.ramBytes,
    disks: vm.disks,
    tpm: vm.hasTpm,
    where: vm.folder,
    ...(vm.broken === undefined ? {} : { reason: vm.broken }),
  };
}
