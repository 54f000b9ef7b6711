/** The command lines of QEMUs that are started to be asked what they can give a VM. Pure. */
import { tightSandbox } from "../definition/command-line.ts";
import type { VmModel } from "../definition/model.ts";
import { writePairs } from "../definition/option-syntax.ts";

const nothingElse = [
  ...["-no-user-config", "-nodefaults", "-sandbox", tightSandbox, "-display", "none", "-S"],
  ...["-qmp", "stdio"],
];

/** What of -machine and -accel has a say in what the processor can do; the rest may ask for memory. */
const telling: readonly string[] = ["kernel-irqchip"];

/** The VM's machine and processor, with that accelerator, and nothing else of it: little memory, no device. */
export function trialCommand(
  { machine, machinePairs, accel: given, accelPairs, cpu }: VmModel,
  binary: string,
  accel: VmModel["accel"],
): string[] {
  const isTelling = ({ key }: { key: string }) => accel === "kvm" && telling.includes(key);
  const pairs = machinePairs.filter(isTelling);
  const ofAccel = accel === given ? accelPairs.filter(isTelling) : [];
  // What is missing is found out, and named; QEMU would end at the first of it.
  const features = cpu?.features.filter((feature) => !/^\+?enforce(?:=|$)/.test(feature)) ?? [];
  return [
    binary,
    ...nothingElse,
    ...["-m", "64"],
    ...["-machine", writePairs([{ key: "type", value: machine }, ...pairs], "type")],
    ...["-accel", writePairs([{ key: "accel", value: accel }, ...ofAccel], "accel")],
    ...(cpu === null ? [] : ["-cpu", [cpu.model, ...features].join(",")]),
  ];
}

/** A QEMU without a machine, which knows what machines and processors there are. */
export function emptyCommand(binary: string): string[] {
  return [binary, ...nothingElse, "-machine", "none"];
}
