/** `migrate profile --attest`: what attestation costs, here or of another host's TPM. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { type TpmPlace, tpmPlace } from "../../attestation/tpm/tpm-place.ts";
import type { AskedHostOptions } from "../../migration/operator/attest/asked-host.ts";
import { timeProofs } from "../../migration/operator/attest/time-proofs.ts";
import { kernelVersion } from "../../platform/host.ts";
import { cpuBetween, usage } from "../../platform/usage.ts";
import { openAttestSides } from "../../profiler/engine/attest-sides.ts";
import { attestTables, attestWords } from "../../profiler/report/attest-tables.ts";
import { requireRoom, writeGuestFile } from "../../profiler/runs/generated-vm.ts";
import { type AttestRunOptions, runAttest } from "../../profiler/runs/run-attest.ts";
import type { AttestCost } from "../../profiler/statistics/attest-samples.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { build } from "../cli/version.ts";
import { tableText } from "./profile-output.ts";

export interface AttestProfileOptions {
  self: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  ramBytes: number;
  runs: number;
  seed: number;
  /** Another host, that is asked for proofs alone, and what it is called; undefined for moves on this host. */
  to: (AskedHostOptions & { called: string }) | undefined;
  progress: AttestRunOptions["progress"];
  signal: AbortSignal;
}

/** What is measured without --ram and --runs: a small VM, since proofs cost the same of any, and less of chance is in it. */
export const usualAttest = { ramBytes: 16 * 1024 ** 2, runs: 10 };

/** Files of a VM: the one that is made, its copy of each move, and what is received. */
const copies = 3;

/**
 * Measures. Throws MigrateError: "tpm-unusable" where this host has no TPM, "attestation" if the other host was not
 * recorded, or is not as it was recorded, and what ends a run; or the signal's reason.
 */
export async function measureAttest(options: AttestProfileOptions): Promise<AttestCost> {
  const { seed, runs, progress, signal, to } = options;
  const facts = {
    ...{ startedAt: new Date().toISOString(), seed },
    environment: {
      ...{ cpu: cpus()[0]?.model.trim() || "unknown", cores: availableParallelism() },
      ...{ kernel: kernelVersion(), bun: Bun.version, migrate: build.version },
    },
  };
  const conduct = { runs, seed, progress, signal };
  if (to !== undefined) {
    const measured = await runAttest({ ...conduct, sides: { prove: () => proveThere(to) } });
    return { ...facts, link: to.called, tpm: `that of ${to.called}`, ramBytes: 0, ...measured };
  }
  const place = tpmPlace(options.env);
  if (place === null) throw noTpm();
  const folder = mkdtempSync(join(tmpdir(), "migrate-profile-"));
  try {
    const { ramBytes } = options;
    requireRoom(folder, copies * ramBytes);
    const ram = await writeGuestFile({ folder, name: "guest.ram", bytes: ramBytes, seed, signal });
    const within = join(folder, "sides");
    mkdirSync(within, { mode: 0o700 });
    const sides = await openAttestSides({
      ...{ self: options.self, folder: within, ram, env: tpmEnvironment(options.env) },
      ...(place.kind === "swtpm" ? { tpmSocket: place.path } : {}),
    });
    try {
      const measured = await runAttest({
        ...conduct,
        sides: { move: (attested) => sides.move(attested), prove: () => sides.prove() },
      });
      return { ...facts, link: "loopback", tpm: tpmWords(place), ramBytes, ...measured };
    } finally {
      await sides.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** All that a person reads of it, for a terminal of `width` columns. */
export function attestText(cost: AttestCost, width: number): string {
  return [...attestTables(cost).map((table) => tableText(table, width)), attestWords(cost)].join("\n\n");
}

async function proveThere(to: AskedHostOptions) {
  const before = usage("self");
  const proofs = await timeProofs(to);
  const { userMs, systemMs } = cpuBetween(before, usage("self"));
  return { proofs, sourceCpuMs: userMs + systemMs };
}

/** What of this environment tells where the TPM is, and its logs. */
function tpmEnvironment(env: AttestProfileOptions["env"]): Record<string, string> {
  const names = ["MIGRATE_TPM", "MIGRATE_EVENT_LOG", "MIGRATE_IMA_LOG"];
  return Object.fromEntries(
    names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const])),
  );
}

const tpmWords = ({ kind, path }: TpmPlace) =>
  kind === "swtpm" ? `swtpm, a TPM in software, at ${path}` : `${path}, the device of this host`;

function noTpm(): MigrateError {
  return new MigrateError("tpm-unusable", "This host has no TPM that proofs could be measured with.", {
    hint: "Measure those of another host (--to HOST:PORT), or name a TPM in software: MIGRATE_TPM=swtpm:PATH.",
  });
}
