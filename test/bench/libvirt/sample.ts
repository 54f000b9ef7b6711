/** One way of moving one domain once, measured; it must go on over there, and be gone here. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { withDeadline } from "../../support/system/deadline.ts";
import type { LinkName } from "../link.ts";
import { cpuMsOfEnded } from "../processes.ts";
import type { LibvirtAttempt, LibvirtContender, MoveCommand } from "./contender.ts";
import { type Ground, lastWords } from "./ground.ts";
import { HostCpu } from "./host-cpu.ts";
import { type DomainKind, domainName, type MovedDomain } from "./moved-domain.ts";

export interface LibvirtSample {
  round: number;
  domain: DomainKind;
  link: LinkName;
  contender: string;
  /** From the start of the command until it has ended. */
  seconds: number;
  /** From QEMU's stop at the source to QEMU's resuming at the destination; undefined if one was not seen. */
  downtimeMs: number | undefined;
  /** Of all processes on a host, QEMU and the guest in it too, until the command has ended. */
  sourceCpuMs: number;
  destinationCpuMs: number;
  /** As the link's device counts, both ways, headers included. */
  wireBytes: number;
}

const deadlineMs = 120_000;

/**
 * Measures one run, in a folder that it makes and removes. Throws where the way fails, is not done in two minutes, or
 * the domain does not go on; both hosts are as they were before in any case.
 */
export async function takeSample(
  contender: LibvirtContender,
  ground: Ground,
  domain: MovedDomain,
  run: Pick<LibvirtSample, "round" | "domain" | "link">,
): Promise<LibvirtSample> {
  const { source, destination, stops } = ground;
  const folder = join(ground.folder, "run");
  mkdirSync(folder);
  let attempt: LibvirtAttempt | undefined;
  let command: MoveCommand | undefined;
  try {
    await ground.shape(run.link);
    await domain.start();
    attempt = await contender.prepare(ground, domain, folder);
    const costs = [new HostCpu(source, stops.pids), new HostCpu(destination, stops.pids)] as const;
    const wireBefore = await ground.wireBytes();
    const begunAtMs = Date.now();
    const begun = performance.now();
    command = attempt.start();
    const { code, signal } = await withDeadline(command.exit, deadlineMs, "the end of the move");
    const seconds = (performance.now() - begun) / 1000;
    const [sourceCpuMs, destinationCpuMs] = [costs[0].sinceMs(), costs[1].sinceMs()];
    const wireBytes = (await ground.wireBytes()) - wireBefore;
    if (code !== 0) throw new Error(`it ended with ${code ?? signal}: ${command.said()}`);
    await stops.waitForResume(destination, domainName, begunAtMs);
    await domain.confirm();
    return {
      ...run,
      contender: contender.name,
      seconds,
      downtimeMs: stops.downtimeMs(source, destination, domainName, begunAtMs),
      sourceCpuMs: sourceCpuMs + cpuMsOfEnded(command),
      destinationCpuMs,
      wireBytes,
    };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const where = `${contender.name} with ${run.domain} over ${run.link}`;
    throw new Error(`${where}: ${message}\n${lastWords(ground, domainName)}`);
  } finally {
    await command?.kill();
    await attempt?.cleanUp();
    await domain.clear();
    rmSync(folder, { recursive: true, force: true });
  }
}
