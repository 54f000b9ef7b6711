/**
 * The settings of a QEMU's migrations (qapi/migration.json) that a move changes: read before, and set back after one
 * that was given up. They belong to whoever administers the VM.
 */
import * as v from "valibot";
import type { Qmp } from "../qmp/qmp.ts";
import { QmpError } from "../qmp/qmp-error.ts";

const capabilitiesSchema = v.array(v.object({ capability: v.string(), state: v.boolean() }));

/** The parameters that a move changes; QEMU tells more. */
const parametersSchema = v.object({
  "downtime-limit": v.optional(v.number()),
  "max-bandwidth": v.optional(v.number()),
  "multifd-channels": v.optional(v.number()),
  "multifd-compression": v.optional(v.string()),
  "tls-creds": v.optional(v.string()),
  "tls-hostname": v.optional(v.string()),
  // In this order they are set back: QEMU takes no beginning that is above the most.
  "max-cpu-throttle": v.optional(v.number()),
  "cpu-throttle-initial": v.optional(v.number()),
  "cpu-throttle-increment": v.optional(v.number()),
});

export interface MigrationSettings {
  /** Every capability that this QEMU has, and whether it is on. */
  capabilities: Record<string, boolean>;
  parameters: v.InferOutput<typeof parametersSchema>;
}

/** By how many percent QEMU slows a guest down (qapi/migration.json, cpu-throttle-*). */
export type Throttle = Required<
  Pick<
    MigrationSettings["parameters"],
    "max-cpu-throttle" | "cpu-throttle-initial" | "cpu-throttle-increment"
  >
>;

/** The least that QEMU knows: a guest that it has slowed is let go on from the next pass on. */
export const unthrottled: Throttle = {
  "max-cpu-throttle": 1,
  "cpu-throttle-initial": 1,
  "cpu-throttle-increment": 1,
};

/** As the settings have it; where they do not say, as QEMU begins. Pure. */
export function throttleParameters({ parameters }: MigrationSettings): Throttle {
  return {
    "max-cpu-throttle": parameters["max-cpu-throttle"] ?? 99,
    "cpu-throttle-initial": parameters["cpu-throttle-initial"] ?? 20,
    "cpu-throttle-increment": parameters["cpu-throttle-increment"] ?? 10,
  };
}

/** Asks for the settings as they are. Throws QmpError. */
export async function readSettings(qmp: Qmp): Promise<MigrationSettings> {
  const capabilities = await qmp.ask(capabilitiesSchema, "query-migrate-capabilities");
  return {
    capabilities: Object.fromEntries(capabilities.map(({ capability, state }) => [capability, state])),
    parameters: await qmp.ask(parametersSchema, "query-migrate-parameters"),
  };
}

/** Sets those of `capabilities` that this QEMU has. Throws QmpError. */
export async function setCapabilities(
  qmp: Qmp,
  { capabilities: known }: MigrationSettings,
  capabilities: Readonly<Record<string, boolean>>,
): Promise<void> {
  await qmp.execute("migrate-set-capabilities", {
    capabilities: Object.entries(capabilities)
      .filter(([capability]) => capability in known)
      .map(([capability, state]) => ({ capability, state })),
  });
}

/**
 * Sets everything as it was. A parameter that QEMU does not take back (one that it showed and does not accept) keeps
 * the value that it has. Throws QmpError if the connection fails.
 */
export async function restoreSettings(qmp: Qmp, settings: MigrationSettings): Promise<void> {
  await unlessRefused(setCapabilities(qmp, settings, settings.capabilities));
  for (const [name, value] of Object.entries(settings.parameters)) {
    await unlessRefused(qmp.execute("migrate-set-parameters", { [name]: value }));
  }
}

async function unlessRefused(done: Promise<unknown>): Promise<void> {
  try {
    await done;
  } catch (thrown) {
    if (!(thrown instanceof QmpError) || thrown.kind !== "refused") throw thrown;
  }
}
