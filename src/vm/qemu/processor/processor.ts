/**
 * A guest's processor, held against the one that another QEMU would give it: what is missing, what would be there
 * besides, and what QEMU is to be told so that the guest finds the processor that it booted on. Pure.
 */
import type { Processor, ProcessorIdentity } from "../../../protocol/processor.ts";
import type { CpuModel } from "../definition/model.ts";

/** How far two processors are from each other; names of features in order. */
export interface Difference {
  /** What the guest uses, and would not have. */
  missing: readonly string[];
  /** What the guest does not know, and would have. */
  besides: readonly string[];
  /** What CPUID would say otherwise of it. */
  identity: readonly (keyof ProcessorIdentity)[];
}

/** QEMU's properties of the processor's identity. */
export const identityProperties = {
  vendor: "vendor",
  family: "family",
  model: "model",
  stepping: "stepping",
  brand: "model-id",
  level: "level",
  xlevel: "xlevel",
  xlevel2: "xlevel2",
  physBits: "phys-bits",
} as const satisfies Record<keyof ProcessorIdentity, string>;
const identityKeys = Object.keys(identityProperties) as (keyof ProcessorIdentity)[];

/** What stands between the processor that a guest has and the one that it would have. */
export function differenceOf(has: Processor, wouldHave: Processor): Difference {
  const [before, after] = [new Set(has.features), new Set(wouldHave.features)];
  return {
    missing: has.features.filter((name) => !after.has(name)).sort(),
    besides: wouldHave.features.filter((name) => !before.has(name)).sort(),
    identity: identityKeys.filter(
      (key) =>
        has.identity[key] !== undefined &&
        wouldHave.identity[key] !== undefined &&
        has.identity[key] !== wouldHave.identity[key],
    ),
  };
}

export function isSame({ missing, besides, identity }: Difference): boolean {
  return missing.length + besides.length + identity.length === 0;
}

/**
 * The model with what QEMU must be told so that the difference goes: "+x" and "-x" count more than whatever else it
 * says of x (QEMU target/i386/cpu.c, x86_cpu_expand_features), and of two values the later.
 */
export function pinned(
  { model, features }: CpuModel,
  { missing, besides, identity }: Difference,
  has: ProcessorIdentity,
): CpuModel {
  const values = identity.map((key) => `${identityProperties[key]}=${has[key]}`);
  return {
    model,
    features: [
      ...features.filter((feature) => !values.some((value) => propertyOf(value) === propertyOf(feature))),
      ...missing.map((name) => `+${name}`),
      ...besides.map((name) => `-${name}`),
      // A width of its own is not taken from this host.
      ...(identity.includes("physBits") ? ["host-phys-bits=off"] : []),
      ...values,
    ],
  };
}

function propertyOf(feature: string): string {
  return (feature.split("=")[0] ?? "").replaceAll("_", "-");
}

/** Names that a sentence has room for, in bytes. */
const mostNamesBytes = 700;

/** The end of a sentence that refuses the VM: what the destination's QEMU cannot give it, or not keep from it. */
export function refusalOf({ missing, besides, identity }: Difference): string {
  const parts = [
    ...(missing.length === 0 ? [] : [`lacks ${listed(missing)}, which the VM's has`]),
    ...(besides.length === 0 ? [] : [`has ${listed(besides)}, which the VM's has not`]),
    ...(identity.length === 0
      ? []
      : [`has another ${listed(identity.map((key) => identityProperties[key]))}`]),
  ];
  return `the processor that the destination can give the VM ${parts.join(", and ")}`;
}

/** "a, b and 3 more": as many as there is room for. */
export function listed(names: readonly string[], mostBytes = mostNamesBytes): string {
  let bytes = 0;
  const shown = names.filter((name) => {
    bytes += name.length + 2;
    return bytes <= mostBytes;
  });
  const rest = names.length - shown.length;
  if (rest > 0) return `${shown.join(", ")} and ${rest} more`;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}
