/**
 * Moving a libvirt domain that runs, against libvirt's own ways: `bun run bench libvirt`.
 *
 * All move the same domain between the same two libvirtd, in another order each round, so that what else the machine
 * does falls on all of them alike. A run that fails is told, and the others go on.
 */
import { writeFileSync } from "node:fs";
import { libvirtTools, liveTools, missingTools, type Tool } from "../../support/runner/needs.ts";
import { runChild } from "../../support/system/child.ts";
import type { LinkName } from "../link.ts";
import { describeMachine } from "../machine.ts";
import { seededRandom, shuffled } from "../statistics.ts";
import { makeWorkFolder } from "../work-folder.ts";
import type { LibvirtContender } from "./contender.ts";
import { libvirtContenders } from "./contenders.ts";
import { type Ground, openGround } from "./ground.ts";
import { MovedDomain, titleOf } from "./moved-domain.ts";
import type { LibvirtBenchOptions } from "./options.ts";
import { aimList, domainTable } from "./report.ts";
import { type LibvirtSample, takeSample } from "./sample.ts";

type Say = (text: string) => void;

/** Disks, as they were saved and on both hosts, and the memory of guests. */
const roomMiB = 3072;

const linkTitles: Readonly<Record<LinkName, string>> = {
  loopback: "over a veth pair as it is",
  gigabit: "over 1 Gbit/s",
};

/** What was measured, and the runs that failed, each as one sentence. */
interface Measured {
  samples: LibvirtSample[];
  failures: string[];
}

/**
 * Runs it; progress goes to `say`, the report to standard output. Throws what kept it from measuring at all, and in
 * the end if a run has failed.
 */
export async function benchLibvirt(options: LibvirtBenchOptions, say: Say): Promise<void> {
  needTools();
  const contenders = atHand(options, say);
  const folder = await makeWorkFolder(options.folder, roomMiB * 2 ** 20);
  const ground = await openGround(folder);
  let measured: Measured;
  try {
    measured = await measure(ground, contenders, options, say);
  } finally {
    await ground.close();
  }
  await report(options, contenders, measured);
  if (measured.failures.length > 0) throw new Error(`${measured.failures.length} runs failed`);
}

/** Throws with the packages to install where a program is missing that every way needs. */
function needTools(): void {
  if (process.getuid?.() !== 0) throw new Error("this makes libvirt hosts in namespaces, which takes root");
  const needed = ["qemu-system-x86_64", "qemu-img", "cpio", "ip", "tc"];
  const perl = { program: "perl", package: "perl" };
  const tools = [...liveTools.filter(({ program }) => needed.includes(program)), ...libvirtTools, perl];
  const missing = missingTools(tools.filter(({ program }) => !program.startsWith("/")));
  if (missing.length > 0) throw new Error(`this needs ${packagesOf(missing)}`);
}

/** The ways asked for that this machine has the programs for; says which are left out, and how to get them. */
function atHand(options: LibvirtBenchOptions, say: Say): LibvirtContender[] {
  const asked = libvirtContenders.filter(({ name }) => options.contenders.includes(name));
  const found = asked.filter(({ name, needs }) => {
    const missing = missingTools(needs);
    if (missing.length > 0) say(`left out: ${name}; it needs ${packagesOf(missing)}`);
    return missing.length === 0;
  });
  if (found.length === 0) throw new Error("no way of moving a domain is left to measure");
  return found;
}

function packagesOf(missing: readonly Tool[]): string {
  const names = missing.map(({ program, package: name }) => name ?? program);
  return `apt-get install ${[...new Set(names)].join(" ")}`;
}

async function measure(
  ground: Ground,
  contenders: readonly LibvirtContender[],
  { rounds, domains, links, seed }: LibvirtBenchOptions,
  say: Say,
): Promise<Measured> {
  const random = seededRandom(seed);
  const measured: Measured = { samples: [], failures: [] };
  for (const kind of domains) {
    say(`making the domain ${kind}`);
    const domain = await MovedDomain.make(ground, kind);
    const runs = links.flatMap((link) => contenders.map((contender) => ({ link, contender })));
    for (let round = 1; round <= rounds; round++) {
      for (const { link, contender } of shuffled(runs, random)) {
        const run = `round ${round}/${rounds}  ${kind}  ${link}  ${contender.name}`;
        try {
          const sample = await takeSample(contender, ground, domain, { round, domain: kind, link });
          measured.samples.push(sample);
          say(
            `${run}  ${sample.seconds.toFixed(2)} s, downtime ${sample.downtimeMs?.toFixed(0) ?? "unknown"} ms`,
          );
        } catch (error) {
          const message = error instanceof Error ? error.message : String(error);
          measured.failures.push(message.split("\n")[0] ?? message);
          say(`${run}  failed: ${message}`);
        }
      }
    }
    domain.remove();
  }
  return measured;
}

async function report(
  options: LibvirtBenchOptions,
  contenders: readonly LibvirtContender[],
  { samples, failures }: Measured,
): Promise<void> {
  const command = ["bun run bench", ...process.argv.slice(2)].join(" ");
  const machine = `${await describeMachine()}\n- libvirt ${(await runChild(["virsh", "--version"])).trim()}`;
  const tables = options.domains.flatMap((kind) =>
    options.links.map((link) => {
      const own = samples.filter((sample) => sample.domain === kind && sample.link === link);
      return domainTable(`${titleOf(kind)}; ${linkTitles[link]}`, contenders, own);
    }),
  );
  console.log(
    [
      `Measured with \`${command}\` (seed ${options.seed}): medians (least–most), each × against the first row, without KVM, ` +
        `files in ${options.folder}; bandwidth unlimited, auto-converge and a downtime limit of 300 ms for all. ` +
        "Seconds are those of the command, from its start to its end; before that the hosts are paired or have their keys, and an empty disk is there for virsh. " +
        "Downtime is from QEMU's STOP at the source to its RESUME at the destination, by QEMU's clock. " +
        "CPU is that of all processes on a host until the command has ended: libvirtd, virtlogd, QEMU with the guest in it, the command, serve, ssh. " +
        "The domain ticked on at the destination each time, defined there, and was gone at the source.",
      machine,
      ...tables,
      aimList(samples),
      failures.map((failure) => `- failed: ${failure}`).join("\n"),
    ]
      .filter((part) => part !== "")
      .join("\n\n"),
  );
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ options, machine, samples, failures }, null, 2)}\n`);
}
