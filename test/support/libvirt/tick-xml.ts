/** The XML of libvirt domains that boot the ticking guest, and of devices to attach to one (libvirt, formatdomain). */
import { guestKernelWords } from "../guests/guest-image.ts";
import { bootFolder } from "./host-folders.ts";

export interface DomainDisk {
  path: string;
  format: "raw" | "qcow2";
  readOnly?: boolean;
  /** vda, vdb, … in their order where it is absent. */
  target?: string;
}

/** A card on one of libvirt's networks, on a bridge, or (neither) on QEMU's own network of one. */
export interface DomainNic {
  network?: string;
  bridge?: string;
  mac?: string;
}

export interface TickDomainOptions {
  name: string;
  /** A new one where it is absent. */
  uuid?: string;
  /** 128 where it is absent, and 256 with UEFI, which does not start with less. */
  ramMiB?: number;
  disks: readonly DomainDisk[];
  nics?: readonly DomainNic[];
  /** Words for the guest's init; see guest-init.ts. */
  append?: string;
  /** q35 with UEFI, which is kept in NVRAM, or pc with a BIOS, which is there where it is absent. */
  firmware?: "uefi" | "bios";
  /** A TPM 2.0 by swtpm; with `tpm=extend` in `append` the guest uses it. */
  tpm?: boolean;
  /** What the guest's memory lies in: QEMU's own pages where it is absent. */
  memory?: "memfd" | "hugepages";
  /** What becomes of it when it reboots; it ends where this is absent. */
  onReboot?: "restart" | "destroy";
  /** A channel as the guest agent has it; there where it is absent. */
  channel?: boolean;
  /** More of libvirt's XML: children of `devices`, and of `domain`. */
  devices?: string;
  elements?: string;
}

/** Where Debian and Ubuntu have UEFI for x86-64, and its variables as they are at first (package ovmf). */
export const uefiCode = "/usr/share/OVMF/OVMF_CODE_4M.fd";
export const uefiVars = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/** A domain that boots the ticking guest without KVM, its serial line on a pty. Two alike need a UUID that is given. */
export function tickDomain(options: TickDomainOptions): string {
  const { name, uuid = crypto.randomUUID(), disks, nics = [], append = "" } = options;
  const isUefi = options.firmware === "uefi";
  const { ramMiB = isUefi ? 256 : 128 } = options;
  const nvram = `<loader readonly="yes" type="pflash">${uefiCode}</loader><nvram template="${uefiVars}"/>`;
  return `<domain type="qemu">
  <name>${name}</name>
  <uuid>${uuid}</uuid>
  <memory unit="MiB">${ramMiB}</memory>
  ${memoryOf(options)}
  <vcpu>1</vcpu>
  <os>
    <type arch="x86_64" machine="${isUefi ? "q35" : "pc"}">hvm</type>
    ${isUefi ? nvram : ""}
    <kernel>${bootFolder}/vmlinuz</kernel>
    <initrd>${bootFolder}/initrd.gz</initrd>
    <cmdline>${`${guestKernelWords} ${append}`.trim()}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <on_reboot>${options.onReboot ?? "destroy"}</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    ${isUefi ? rootPorts : ""}
    ${disks.map((disk, n) => diskXml({ target: `vd${"abcdefgh"[n]}`, ...disk })).join("\n    ")}
    ${nics.map(nicXml).join("\n    ")}
    <serial type="pty"/>
    ${options.channel === false ? "" : agentChannel}
    ${options.tpm === true ? '<tpm model="tpm-tis"><backend type="emulator" version="2.0"/></tpm>' : ""}
    <memballoon model="none"/>
    ${options.devices ?? ""}
  </devices>
  ${options.elements ?? ""}
</domain>
`;
}

/** On q35 a device can be plugged in later where a root port is free (libvirt, pci-hotplug). */
const rootPorts = `<controller type="pci" index="0" model="pcie-root"/>${'<controller type="pci" model="pcie-root-port"/>'.repeat(10)}`;

const agentChannel = '<channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>';

function memoryOf({ memory }: TickDomainOptions): string {
  if (memory === "hugepages") return "<memoryBacking><hugepages/></memoryBacking>";
  if (memory === "memfd")
    return '<memoryBacking><source type="memfd"/><access mode="shared"/></memoryBacking>';
  return "";
}

/** As `virsh attach-device` takes it, too. */
export function diskXml({ path, format, readOnly, target }: DomainDisk & { target: string }): string {
  return `<disk type="file" device="disk"><driver name="qemu" type="${format}"/><source file="${path}"/><target dev="${target}" bus="virtio"/>${readOnly ? "<readonly/>" : ""}</disk>`;
}

/** As `virsh attach-device` takes it, too. */
export function nicXml({ network, bridge, mac }: DomainNic): string {
  const kind = network !== undefined ? "network" : bridge !== undefined ? "bridge" : "user";
  const source = kind === "user" ? "" : `<source ${kind}="${network ?? bridge}"/>`;
  const address = mac === undefined ? "" : `<mac address="${mac}"/>`;
  return `<interface type="${kind}">${address}${source}<model type="virtio"/></interface>`;
}

/** A network that is a bridge of the host's. Libvirt makes nothing for it: no addresses, no rules of a firewall. */
export function networkXml(name: string, bridge: string): string {
  return `<network><name>${name}</name><forward mode="bridge"/><bridge name="${bridge}"/></network>`;
}
