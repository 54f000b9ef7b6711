/** The VM that a person named, as its provider's candidate. Only here a VmSpec is assigned to a provider. */
import type { Mode } from "../ownership/phases.ts";
import type { Candidate } from "./departure.ts";
import { type FilesSpec, filesCandidate } from "./files/leaving-files.ts";
import { type LibvirtSpec, libvirtCandidate } from "./libvirt/leaving-domain.ts";
import { type QemuSending, type QemuSpec, qemuCandidate } from "./qemu/leaving-qemu.ts";
import type { KeptSeal } from "./tpm-at-source.ts";

/** A VM as the person named it. */
export type VmSpec = FilesSpec | QemuSpec | LibvirtSpec;

/** What a departure has to know of the `send`. */
export type Sending = QemuSending & KeptSeal & { mode: Mode };

/**
 * Returns the candidate, without connecting to a running VM. Throws MigrateError "not-owner" if a copy is to
 * be moved, and "home-unusable" if the paths of its sockets would be too long.
 */
export function candidateOf(vm: VmSpec, sending: Sending): Candidate {
  if ("libvirt" in vm) return libvirtCandidate(vm, sending);
  return "qmp" in vm ? qemuCandidate(vm, sending) : filesCandidate(vm, sending.mode, sending);
}
