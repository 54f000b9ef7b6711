/** The files that a profile moves: made up, or a VM's own. */
import { loadVm, type Vm } from "../../vm/folder/vm-folder.ts";
import type { ProfiledFile } from "../engine/sides.ts";
import type { Plan } from "../statistics/samples.ts";
import { requireRoom, writeGuestFile } from "./generated-vm.ts";
import type { PlannedRun } from "./schedule.ts";

type Sizes = Pick<PlannedRun, "ramBytes" | "diskBytes">;

export interface ProfileInput {
  filesOf(run: Sizes): readonly ProfiledFile[];
  /** The least run that is like the others. */
  warmUp: Sizes;
}

/** A warm-up compiles the code and opens the caches; more bytes than that would only take time. */
const warmUpBytes = 16 * 1024 * 1024;

/**
 * Bytes that a profile takes in its temporary folder: made-up files, and what a destination here receives.
 */
export function roomFor(plan: Plan, destinationHere: boolean): number {
  const largest = Math.max(...plan.ramBytes) + Math.max(...plan.diskBytes);
  const made =
    plan.vm !== undefined ? 0 : plan.engine === "full" ? sum(plan.ramBytes) + sum(plan.diskBytes) : largest;
  return made + (destinationHere ? largest : 0);
}

/**
 * Makes the input of a plan in `folder`, ours and empty. Throws MigrateError "no-room" if there is no
 * room for it and for what is received, "vm-invalid" if the VM cannot be read, or the signal's reason.
 */
export async function makeInput(
  plan: Plan,
  options: { folder: string; seed: number; destinationHere: boolean; signal: AbortSignal },
): Promise<ProfileInput> {
  requireRoom(options.folder, roomFor(plan, options.destinationHere));
  if (plan.vm !== undefined) return inputOfVm(plan, loadVm(plan.vm));
  return plan.engine === "full" ? fullInput(plan, options) : thesisInput(plan, options);
}

/** The sizes of the files of the largest run, in their order: what a destination here has to hold. */
export function largestFiles(plan: Plan, input: ProfileInput): number[] {
  const largest: number[] = [];
  for (const ramBytes of plan.ramBytes) {
    for (const diskBytes of plan.diskBytes) {
      for (const [i, { bytes }] of input.filesOf({ ramBytes, diskBytes }).entries())
        largest[i] = Math.max(largest[i] ?? 0, bytes);
    }
  }
  return largest;
}

/** The RAM and the disks of a VM that is measured; a virtual TPM's few bytes are left out. */
export function sizesOfVm(folder: string): { ramBytes: number; diskBytes: number } {
  const { files } = loadVm(folder);
  const bytesOf = (kind: string) => sum(files.filter((file) => file.kind === kind).map(({ bytes }) => bytes));
  return { ramBytes: bytesOf("ram"), diskBytes: bytesOf("disk") };
}

function inputOfVm(plan: Plan, vm: Vm): ProfileInput {
  const of = (kind: "ram" | "disk") =>
    vm.files
      .filter((file) => file.kind === kind)
      .map(({ path, bytes }): ProfiledFile => ({ kind, path, bytes }));
  const [ramBytes = 0] = plan.ramBytes;
  const warmUp =
    plan.engine === "full" ? { ramBytes, diskBytes: ramBytes === 0 ? plan.diskBytes[0]! : 0 } : undefined;
  return {
    filesOf: (run) => [...prefix(of("ram"), run.ramBytes), ...prefix(of("disk"), run.diskBytes)],
    warmUp:
      warmUp ??
      (ramBytes > 0
        ? { ramBytes: Math.min(warmUpBytes, ramBytes), diskBytes: 0 }
        : { ramBytes: 0, diskBytes: Math.min(warmUpBytes, plan.diskBytes[0]!) }),
  };
}

/** One file of each kind; a run takes as much of it as it needs. */
async function thesisInput(
  plan: Plan,
  options: { folder: string; seed: number; signal: AbortSignal },
): Promise<ProfileInput> {
  const made: ProfiledFile[] = [];
  for (const kind of ["ram", "disk"] as const) {
    const bytes = Math.max(...(kind === "ram" ? plan.ramBytes : plan.diskBytes));
    if (bytes === 0) continue;
    made.push({ kind, bytes, path: await writeGuestFile({ ...options, name: `guest.${kind}`, bytes }) });
  }
  const of = (kind: "ram" | "disk") => made.filter((file) => file.kind === kind);
  return {
    filesOf: (run) => [...prefix(of("ram"), run.ramBytes), ...prefix(of("disk"), run.diskBytes)],
    warmUp: { ramBytes: Math.min(warmUpBytes, ...plan.ramBytes), diskBytes: 0 },
  };
}

/** The product moves files whole: one for each size. */
async function fullInput(
  plan: Plan,
  options: { folder: string; seed: number; signal: AbortSignal },
): Promise<ProfileInput> {
  const made: ProfiledFile[] = [];
  for (const kind of ["ram", "disk"] as const) {
    for (const bytes of kind === "ram" ? plan.ramBytes : plan.diskBytes) {
      if (bytes === 0) continue;
      made.push({
        kind,
        bytes,
        path: await writeGuestFile({ ...options, name: `guest-${bytes}.${kind}`, bytes }),
      });
    }
  }
  const of = (kind: "ram" | "disk", bytes: number) =>
    made.filter((file) => file.kind === kind && file.bytes === bytes);
  return {
    filesOf: (run) => [...of("ram", run.ramBytes), ...of("disk", run.diskBytes)],
    warmUp: { ramBytes: Math.min(...plan.ramBytes), diskBytes: 0 },
  };
}

/** The first `bytes` bytes of files that stand one behind the other. */
function prefix(files: readonly ProfiledFile[], bytes: number): ProfiledFile[] {
  let left = bytes;
  return files.flatMap((file) => {
    const taken = Math.min(left, file.bytes);
    left -= taken;
    return taken === 0 ? [] : [{ ...file, bytes: taken }];
  });
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
