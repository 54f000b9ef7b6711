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
});

export interface MigrationSettings {
  /** Every capability that this QEMU has, and whether it is on. */
  capabilities: Record<string, boolean>;
  parameters: v.InferOutput<typeof parametersSchema>;
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
