/**
 * What other programs do with a QEMU: save or migrate its VM, run jobs on its disks, export them. A move would break
 * that off (qapi/migration.json, block-core.json, block-export.json).
 */
import * as v from "valibot";
import { MigrateError } from "../../../protocol/errors.ts";
import type { Qmp } from "../qmp/qmp.ts";

const migrationSchema = v.object({ status: v.optional(v.string(), "none") });
const jobsSchema = v.array(v.object({ device: v.string(), type: v.string() }));
const exportsSchema = v.array(
  v.object({ id: v.string(), type: v.string(), "node-name": v.optional(v.string(), "") }),
);

/** A migration in one of these does nothing (any more). */
const idle: readonly string[] = ["none", "completed", "failed", "cancelled"];

/** Throws MigrateError "vm-busy" naming what another program does with this VM; and QmpError. */
export async function requireUnused(qmp: Qmp): Promise<void> {
  const { status } = await qmp.ask(migrationSchema, "query-migrate");
  if (!idle.includes(status)) {
    throw busy(
      `Another program migrates or saves the VM now: QEMU's migration is ${status}`,
      "Wait until it is done, or cancel it there.",
    );
  }
  const [job] = await qmp.ask(jobsSchema, "query-block-jobs");
  if (job !== undefined) {
    throw busy(
      `The job ${job.device} (${job.type}) of another program works on the VM's disks`,
      "Wait until it is done, or cancel it there: a move would break it off.",
    );
  }
  const [shared] = await qmp.ask(exportsSchema, "query-block-exports");
  if (shared !== undefined) {
    throw busy(
      `Another program reads the VM's disks through QEMU: the export ${shared.id} (${shared.type}) of ${shared["node-name"]}`,
      "End it there (block-export-del) before the VM moves: its client would be cut off.",
    );
  }
}

/** What QEMU itself holds against a migration (qapi/migration.json, blocked-reasons, since 6.0). */
const blockedSchema = v.object({ "blocked-reasons": v.optional(v.array(v.string()), []) });

/** Throws MigrateError "policy" if QEMU says that its VM cannot be migrated as it is now; and QmpError. */
export async function requireUnblocked(qmp: Qmp): Promise<void> {
  const { "blocked-reasons": reasons } = await qmp.ask(blockedSchema, "query-migrate");
  if (reasons.length === 0) return;
  throw new MigrateError("policy", "The VM has something that its QEMU cannot migrate", {
    side: "source",
    hint: `QEMU says: ${reasons.join("; ")}`,
  });
}

function busy(message: string, hint: string): MigrateError {
  return new MigrateError("vm-busy", message, { side: "source", hint });
}
