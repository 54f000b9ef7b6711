/** Opens this host's libvirt for a destination that takes in its domains. */
import { chmodSync, statSync } from "node:fs";
import { readNetMap } from "../../../vm/libvirt/definition/net-map.ts";
import type { Observer } from "../../report/events.ts";
import type { LibvirtPolicy } from "./arriving-xml.ts";
import { keepConfig, LandingHost } from "./landing-host.ts";
import { removeStaleLinks } from "./live-link.ts";

/** Others may pass through a folder, and not see what is in it (inode(7)). */
const passable = 0o011;

/**
 * Returns the policy, once libvirt has answered, and notes in `home` how it is reached. The users as which libvirt runs
 * VMs may pass through the store afterwards, and links in it that lead nowhere are gone. Throws MigrateError "policy" and "usage", and as node:fs does.
 */
export async function openLibvirt(
  home: string,
  store: string,
  { uri, netMap }: { uri: string; netMap: string },
  observe: Observer,
): Promise<LibvirtPolicy> {
  const map = readNetMap(netMap);
  const host = new LandingHost(uri);
  await host.requireReachable();
  keepConfig(home, { uri, netMap });
  removeStaleLinks(store);
  const { mode } = statSync(store);
  if ((mode & passable) !== passable) {
    chmodSync(store, (mode & 0o7777) | passable);
    observe({
      event: "notice",
      message: `the users as which libvirt runs VMs may pass through ${store} now (chmod og+x), and not list it`,
    });
  }
  return { host, netMap: map };
}
