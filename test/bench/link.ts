/** What lies between the two sides: the loopback device, or 1 Gbit/s between two network namespaces. */

import { NetworkHosts } from "../support/moves/links/network-hosts.ts";
import { missingTools } from "../support/runner/needs.ts";
import { loopbackBytes } from "./processes.ts";

export const linkNames = ["loopback", "gigabit"] as const;
export type LinkName = (typeof linkNames)[number];

export interface Link {
  name: LinkName;
  /** For the table's heading. */
  title: string;
  /** What the destination listens on and the source calls: an IPv4 address. */
  address: string;
  /** The words before a command that is to run on that side; the process is then the command's own. */
  source: readonly string[];
  destination: readonly string[];
  /** Bytes that its device has counted so far, both ways, headers included. */
  wireBytes(): Promise<number>;
  close(): Promise<void>;
}

const loopback: Link = {
  name: "loopback",
  title: "over loopback",
  address: "127.0.0.1",
  source: [],
  destination: [],
  wireBytes: async () => loopbackBytes(),
  close: async () => {},
};

/**
 * Opens the links named, in that order; close them. One that this machine cannot have is left out,
 * and `say` is told why. Throws what `ip` or `tc` said where they fail.
 */
export async function openLinks(names: readonly LinkName[], say: (text: string) => void): Promise<Link[]> {
  const links: Link[] = [];
  for (const name of names) {
    const reason = name === "gigabit" ? whyNoNamespaces() : undefined;
    if (reason !== undefined) say(`left out: the link ${name}, ${reason}`);
    else links.push(name === "gigabit" ? await openGigabit() : loopback);
  }
  return links;
}

/** Why this user of this machine cannot make network namespaces; undefined where he can. */
function whyNoNamespaces(): string | undefined {
  if (process.getuid?.() !== 0) return "which only root can make";
  const missing = missingTools([{ program: "ip" }, { program: "tc" }]);
  return missing.length === 0
    ? undefined
    : `for want of ${missing.map(({ program }) => program).join(", ")}: apt-get install iproute2`;
}

async function openGigabit(): Promise<Link> {
  const network = await NetworkHosts.make({ megabitsPerSec: 1000 });
  return {
    name: "gigabit",
    title: "over 1 Gbit/s between two network namespaces",
    address: network.address("destination"),
    source: network.enter("source"),
    destination: network.enter("destination"),
    wireBytes: async () => await network.linkBytes(),
    close: async () => await network.close(),
  };
}
