/** What shows a VM's screen at the destination: VNC, where and if its administrator says so. Pure. */
import type { VmModel } from "../model.ts";
import { escapeCommas, valueIn } from "../option-syntax.ts";

/** Nothing; a socket in the VM's run folder; a port of this host's own loopback address. */
export const vncPolicies = ["none", "unix", "127.0.0.1"] as const;

export type VncPolicy = (typeof vncPolicies)[number];

/** The socket in the run folder on which QEMU speaks VNC. */
export const vncSocketName = "vnc.sock";

const screenDevices =
  /^(?:VGA|secondary-vga|isa-vga|cirrus-vga|vmware-svga|ati-vga|qxl|qxl-vga|bochs-display|ramfb|virtio-vga|virtio-gpu(?:-pci|-device)?)$/;

/** Whether a VM has a screen: without -nodefaults a PC has one unless it is told otherwise (system/vl.c). */
export function hasScreen({
  parts,
  noDefaults,
  system,
}: Pick<VmModel, "parts" | "noDefaults" | "system">): boolean {
  if (parts.some((part) => part.kind === "device" && screenDevices.test(part.driver))) return true;
  const vga = parts.findLast((part) => part.kind === "plain" && part.option === "-vga");
  if (vga?.kind === "plain") return valueIn(vga.pairs, "value") !== "none";
  return !noDefaults && system === "x86_64";
}

/** What shows the screen of this VM where that is the policy; "none" for one without a screen. */
export function vncOf(
  model: Pick<VmModel, "parts" | "noDefaults" | "system">,
  policy: VncPolicy = "none",
): VncPolicy {
  return hasScreen(model) ? policy : "none";
}

/** QEMU's words for it: on a socket in either case, since a VM has no network of this host's (qemu(1), -vnc). */
export function vncWords(vnc: VncPolicy, socketFolder: string): string[] {
  return vnc === "none" ? [] : ["-vnc", `unix:${escapeCommas(`${socketFolder}/${vncSocketName}`)}`];
}

/** Where the screen of a VM is shown that was shown by these options at its source; undefined if that was not told. */
export function screenNotes(shownBy: readonly string[], vnc: VncPolicy | undefined | "unknown"): string[] {
  return shownBy.map((option) => `${option} is left out: ${places[vnc ?? "none"]}`);
}

const places: Readonly<Record<VncPolicy | "unknown", string>> = {
  none: "the destination shows no display (serve --vnc says whether it does)",
  unix: "the destination shows the screen by VNC on a socket in the VM's run folder; no password goes along",
  "127.0.0.1":
    "the destination shows the screen by VNC on a port of its own 127.0.0.1, to all who are on that host; no password goes along",
  unknown:
    "the destination shows the screen if it serves with --vnc, else no display; no password goes along",
};
