/** What the benchmark of libvirt's domains is asked to do. */
import { BenchArguments } from "../../support/runner/bench-arguments.ts";
import { type LinkName, linkNames } from "../link.ts";
import { contenderNames } from "./contenders.ts";
import { type DomainKind, domainKinds } from "./moved-domain.ts";

export interface LibvirtBenchOptions {
  /** How often each way moves each of the domains over each link. */
  rounds: number;
  domains: DomainKind[];
  links: LinkName[];
  contenders: string[];
  /** Where the hosts' folders lie, with disks and stores. */
  folder: string;
  seed: number;
  /** Where the raw samples go. */
  json: string | undefined;
}

export const usage = `bun run bench libvirt [--rounds 3] [--domains a,b] [--link a,b] [--contenders a,b] [--folder DIR] [--seed N]
                      [--json FILE]

  --rounds      how often each way moves each domain over each link (default 3)
  --domains     of ${domainKinds.join(", ")} (default both)
  --link        of ${linkNames.join(", ")} (default both): a veth pair between two network namespaces, as it is, and at 1 Gbit/s
  --contenders  of ${contenderNames.join(", ")} (default all)
  --folder      where the hosts' folders lie, with disks and stores (default /dev/shm, so that no disk is measured)
  --seed        of the order of the runs (default: a new one, printed)
  --json        a file for the raw samples`;

/** Reads the command line, after the word `libvirt`. Throws an Error with a sentence where it makes no sense. */
export function readOptions(args: string[]): LibvirtBenchOptions {
  const given = new BenchArguments(
    args,
    `--rounds 3 --domains ${domainKinds.join(",")} --link ${linkNames.join(",")} --contenders ${contenderNames.join(",")} --folder /dev/shm --seed --json`,
  );
  return {
    rounds: given.wholeNumber("--rounds", 1, 1000),
    domains: given.names("--domains", domainKinds),
    links: given.names("--link", linkNames),
    contenders: given.names("--contenders", contenderNames),
    ...given.usual(),
  };
}
