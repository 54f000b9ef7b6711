/**
 * Undoes a failed move at the source's QEMU: whatever of it is under way ends, and the VM resumes. It asks QEMU
 * what there is, so that any process may do it, whatever the one before it died of.
 */
import * as v from "valibot";
import type { Qmp } from "../qmp/qmp.ts";
import { QmpError } from "../qmp/qmp-error.ts";
import { type MigrationSettings, readSettings, restoreSettings } from "./migration-settings.ts";
import { resumeGuest } from "./resume-guest.ts";

/** What this program calls its jobs and nodes in the source's QEMU, with the disk's number behind. */
export const mirrorJobPrefix = "migrate-mirror-";
export const mirrorNodePrefix = "migrate-target-";

const nodesSchema = v.array(v.object({ "node-name": v.optional(v.string()) }));
const migrationSchema = v.object({ status: v.optional(v.string(), "none") });
const jobsSchema = v.array(v.object({ device: v.string() }));

/** How long QEMU may take to break something off, in milliseconds. */
const endTimeoutMs = 30_000;
const pollMs = 20;

/** What a move notes of a QEMU before it changes anything of it. */
export interface BeforeMove {
  /** The guest is to run again. */
  wasRunning: boolean;
  /** Absent if it was not noted: earlier versions of this program did not. */
  before?: MigrationSettings | null;
  /** False if its cards are not to say where it is. */
  announces?: boolean;
}

/**
 * What the migration of a session is marked with in QEMU, so that nobody else's is taken for it: the name of a TLS
 * host, a setting that means nothing without TLS (qapi/migration.json, tls-hostname).
 */
export function moveMark(session: string): string {
  return `migrate-${session}`;
}

/**
 * Breaks off the migration and the mirrors of this program, restores QEMU's settings, and resumes the VM if it ran.
 * The migration is broken off only if it carries `mark`. Idempotent. Throws QmpError, also if the VM does not resume.
 */
export async function rollBack(
  qmp: Qmp,
  { wasRunning, before, announces }: BeforeMove,
  mark: string,
): Promise<void> {
  await cancelMigration(qmp, before, mark);
  await endJobs(qmp);
  const nodes = await qmp.ask(nodesSchema, "query-named-block-nodes");
  for (const { "node-name": node } of nodes) {
    if (node?.startsWith(mirrorNodePrefix))
      await unlessRefused(qmp.execute("blockdev-del", { "node-name": node }));
  }
  if (wasRunning) {
    const resumed = await resumeGuest(qmp, announces === undefined ? {} : { announces });
    if (resumed.outcome === "refused") throw resumed.why;
  }
  const settings = before ?? defaultSettings;
  if (before === undefined || (await readSettings(qmp)).parameters["tls-hostname"] === mark) {
    await restoreSettings(qmp, settings);
  }
}

/** As a QEMU has them at its start (qapi/migration.json), of those that earlier versions of this program changed. */
const defaultSettings: MigrationSettings = {
  capabilities: {
    "pause-before-switchover": false,
    "auto-converge": false,
    multifd: false,
    "late-block-activate": false,
  },
  parameters: { "downtime-limit": 300, "max-bandwidth": 128 * 1024 ** 2 },
};

async function cancelMigration(
  qmp: Qmp,
  before: MigrationSettings | null | undefined,
  mark: string,
): Promise<void> {
  const isOver = async () => {
    const { status } = await qmp.ask(migrationSchema, "query-migrate");
    return ["none", "completed", "failed", "cancelled"].includes(status);
  };
  if (await isOver()) return;
  if (before !== undefined && (await readSettings(qmp)).parameters["tls-hostname"] !== mark) return;
  await unlessRefused(qmp.execute("migrate_cancel"));
  await until(isOver, "the migration");
}

async function endJobs(qmp: Qmp): Promise<void> {
  const jobs = async () =>
    (await qmp.ask(jobsSchema, "query-block-jobs")).filter(({ device }) =>
      device.startsWith(mirrorJobPrefix),
    );
  for (const { device } of await jobs()) {
    await unlessRefused(qmp.execute("block-job-cancel", { device, force: true }));
  }
  await until(async () => (await jobs()).length === 0, "the mirror of a disk");
}

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const lateAtMs = performance.now() + endTimeoutMs;
  while (!(await holds())) {
    if (performance.now() > lateAtMs) throw new QmpError("silent", `QEMU does not end ${what}`);
    await Bun.sleep(pollMs);
  }
}

/** Between the question and the command it may have ended by itself. */
async function unlessRefused(done: Promise<unknown>): Promise<void> {
  try {
    await done;
  } catch (thrown) {
    if (!isRefusal(thrown)) throw thrown;
  }
}

function isRefusal(thrown: unknown): boolean {
  return thrown instanceof QmpError && thrown.kind === "refused";
}
