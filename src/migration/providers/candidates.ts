/** The VM that a person named, as its provider's candidate: which words mean which kind of VM is told here alone. */
import type { Mode } from "../ownership/phases.ts";
import type { Candidate } from "./departure.ts";
import { type FilesSpec, filesCandidate } from "./files/leaving-files.ts";
import { type QemuSending, type QemuSpec, qemuCandidate } from "./qemu/leaving-qemu.ts";

/** A VM as the person named it. */
export type VmSpec = FilesSpec | QemuSpec;

/** What of a send the departure has to know. */
export type Sending = QemuSending & { mode: Mode };

/** Nothing of a running VM is looked at yet. Throws MigrateError "not-owner" for a copy that is to move, and "home-unusable". */
export function candidateOf(vm: VmSpec, sending: Sending): Candidate {
  return "qmp" in vm ? qemuCandidate(vm, sending) : filesCandidate(vm, sending.mode);
}
