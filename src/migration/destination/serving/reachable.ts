/** By which addresses other hosts reach a destination. */
import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { hostname, type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { type ListenAddress, listenText, type TcpAddress } from "../../../channel/address.ts";

/** How long a resolver may take over this host's own name, in milliseconds: nothing waits for a name server that is gone. */
const lookupMs = 1_000;
/** RTF_REJECT of linux/route.h: such a route leads nowhere. */
const rejects = 0x200;

/** This host's addresses, by interface; those of interfaces that are down are not among them. */
type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** Every address of the host, IPv6 and IPv4 by one socket (ipv6(7)); of IPv4 alone where the kernel has no other. */
export function everywhere(port: number): TcpAddress {
  try {
    Bun.listen({ hostname: "::", port: 0, socket: { data() {} } }).stop(true);
    return { host: "::", port };
  } catch {
    return { host: "0.0.0.0", port };
  }
}

/**
 * Returns host:port, or unix:PATH, of each way to these places, the likeliest first: of a wildcard address those of the
 * host's interfaces, first of the one with the default route, and last its name if that leads here from elsewhere, or if
 * there is nothing else to be said.
 */
export async function reachableAt(places: readonly ListenAddress[]): Promise<string[]> {
  const isWide = places.some((place) => "host" in place && isWildcard(place.host));
  const name = isWide ? await ownName() : null;
  const found = places.flatMap((place) => {
    if ("unix" in place || !isWildcard(place.host)) return [listenText(place)];
    const hosts = reachableHosts(networkInterfaces(), defaultInterfaces(), place.host === "::");
    if (name !== null) hosts.push(name);
    if (hosts.length === 0) hosts.push(hostname());
    return hosts.map((host) => listenText({ ...place, host }));
  });
  // A port is reached by more hosts than a socket of this one.
  const others = found.filter((text) => !text.startsWith("unix:"));
  return [...new Set([...others, ...found.filter((text) => text.startsWith("unix:"))])];
}

/**
 * The addresses of these interfaces by which others reach this host: none of the loopback, and those that hold on one
 * link alone (RFC 3927, RFC 4291 section 2.5.6) only if there are no others. IPv4 comes first in each interface. Pure.
 */
export function reachableHosts(
  interfaces: Interfaces,
  preferred: ReadonlySet<string>,
  withV6: boolean,
): string[] {
  const names = Object.keys(interfaces);
  const ordered = [
    ...names.filter((name) => preferred.has(name)),
    ...names.filter((name) => !preferred.has(name)),
  ];
  const all = ordered.flatMap((name) =>
    [...(interfaces[name] ?? [])]
      .filter(({ internal, family }) => !internal && (family === "IPv4" || withV6))
      .sort((one, other) => one.family.localeCompare(other.family))
      .map(({ address, family }) => ({ address, isLocal: isLinkLocal(address), name, family })),
  );
  const wide = all.filter(({ isLocal }) => !isLocal);
  const shown = wide.length > 0 ? wide : all;
  return shown.map(({ address, isLocal, name, family }) =>
    isLocal && family === "IPv6" ? `${address}%${name}` : address,
  );
}

const isWildcard = (host: string) => host === "0.0.0.0" || host === "::";
const isLinkLocal = (address: string) => /^(?:169\.254\.|fe[89ab][\da-f]:)/i.test(address);
const isLoopback = (address: string) => address === "::1" || address.startsWith("127.");

/** The interfaces with a default route: proc(5), /proc/net/route, and /proc/net/ipv6_route. */
function defaultInterfaces(): Set<string> {
  const found = new Set<string>();
  for (const line of linesOf("/proc/net/route")) {
    const [name = "", destination, , , , , , mask] = line.trim().split(/\s+/);
    if (destination === "00000000" && mask === "00000000") found.add(name);
  }
  for (const line of linesOf("/proc/net/ipv6_route")) {
    const [destination = "", length, , , , , , , flags = "", name = ""] = line.trim().split(/\s+/);
    const leads = (Number.parseInt(flags, 16) & rejects) === 0;
    if (/^0+$/.test(destination) && length === "00" && leads) found.add(name);
  }
  return found;
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n");
  } catch {
    // A kernel without IPv6 has no such file.
    return [];
  }
}

/** This host's name, if it leads to an address that is not of the loopback; null if it does not, or nobody says so in time. */
async function ownName(): Promise<string | null> {
  const name = hostname();
  if (name === "" || /[\s:/@[\]]/.test(name)) return null;
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(() => late.resolve(null), lookupMs);
  try {
    const found = await Promise.race([lookup(name, { all: true }), late.promise]);
    return found?.some(({ address }) => !isLoopback(address)) === true ? name : null;
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}
