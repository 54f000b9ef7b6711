/** Measures a plan: input, sides, runs, and the end of all of them. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { type Address, addressText } from "../../channel/address.ts";
import type { Ticket } from "../../channel/ticket.ts";
import { measureAt } from "../../migration/source/measure-at.ts";
import { kernelVersion } from "../../platform/host.ts";
import { openFullSides } from "../../profiler/engine/full-sides.ts";
import type { Sides } from "../../profiler/engine/sides.ts";
import { openLocalPeer, openThesisSides } from "../../profiler/engine/thesis-sides.ts";
import { largestFiles, makeInput, type ProfileInput } from "../../profiler/runs/profile-input.ts";
import { type ProfileProgress, type ProfileResult, runProfile } from "../../profiler/runs/run-profile.ts";
import type { Plan, Sample, Samples } from "../../profiler/statistics/samples.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { build } from "../cli/version.ts";

export interface MeasureOptions {
  plan: Plan;
  seed: number;
  startedAt: string;
  taken: readonly Sample[];
  self: readonly string[];
  /** Another host, or undefined for this one. */
  to:
    | { address: Address; home: string; ticket: Ticket | undefined; passphrase: () => Promise<string> }
    | undefined;
  progress: (progress: ProfileProgress) => void;
  keep: (samples: Samples) => void;
  note: (message: string) => void;
  signal: AbortSignal;
}

/**
 * Makes the input in a temporary folder (TMPDIR), measures, and removes the folder. Throws MigrateError
 * for what keeps it from beginning; what cuts it short later is in the result.
 */
export async function measurePlan(options: MeasureOptions): Promise<ProfileResult> {
  const { plan, seed, to, signal } = options;
  const folder = mkdtempSync(join(tmpdir(), "migrate-profile-"));
  try {
    const input = await makeInput(plan, { folder, seed, destinationHere: to === undefined, signal });
    const sides = await openSides(options, folder, input);
    return await runProfile({
      plan,
      seed,
      environment: {
        cpu: cpus()[0]?.model.trim() || "unknown",
        cores: availableParallelism(),
        kernel: kernelVersion(),
        bun: Bun.version,
        migrate: build.version,
      },
      sides,
      filesOf: input.filesOf,
      warmUp: input.warmUp,
      taken: options.taken,
      startedAt: options.startedAt,
      progress: options.progress,
      keep: options.keep,
      signal,
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function openSides(
  { plan, self, to, note }: MeasureOptions,
  folder: string,
  input: ProfileInput,
): Promise<Sides> {
  const received = join(folder, "received");
  mkdirSync(received, { mode: 0o700 });
  if (plan.engine === "full") return openFullSides({ self, folder: received });
  const mostBytes = Math.max(...plan.ramBytes) + Math.max(...plan.diskBytes);
  return openThesisSides({
    self,
    // A VM's own bytes leave this host in no profile: half of the suites would not protect them.
    hide: plan.vm !== undefined && to !== undefined,
    destination: async (source) => {
      if (to === undefined) {
        const prepare = largestFiles(plan, input);
        return openLocalPeer({ self, source, folder: received, mostBytes, prepare });
      }
      const at = await measureAt({ ...to, notice: note, request: { source, mostBytes } });
      if (at.paired) note(`Paired with ${at.peer}; from now on no ticket is needed`);
      const { port, plainPort, destination, secret } = at;
      return {
        address: { host: hostOf(to.address), port, plainPort, destination, secret },
        link: addressText(to.address),
        lost: at.lost,
        close: at.close,
      };
    },
  });
}

/** A measurement goes to ports; profile asks for no address that has none. */
function hostOf(address: Address): string {
  if ("host" in address) return address.host;
  throw new MigrateError("bug", "a measurement was asked for over a unix socket");
}
