/**
 * Two hosts on one machine as far as the network goes: two network namespaces, joined by a veth pair
 * that carries 1 Gbit/s in each direction unless told (ip-netns(8), veth(4), tc-tbf(8)). Needs root.
 *
 * Files, processes and unix sockets are the machine's as before; only what goes over TCP is apart.
 */

import { findProgram } from "../../runner/needs.ts";
import { type Child, type ChildOptions, runChild, startChild } from "../../system/child.ts";

export type NetworkHost = "source" | "destination";

export interface NetworkOptions {
  /** 1000 where it is absent. */
  megabitsPerSec?: number | "unlimited";
}

/** From the block of private networks (RFC 1918); nobody else is in these namespaces. */
const addresses: Readonly<Record<NetworkHost, string>> = {
  source: "10.77.0.1",
  destination: "10.77.0.2",
};
/** Of unique local ones (RFC 4193). */
const addressesV6: Readonly<Record<NetworkHost, string>> = { source: "fd77::1", destination: "fd77::2" };
const hosts: readonly NetworkHost[] = ["source", "destination"];
/** The name of the link in either host. */
const device = "link0";
/** Of a veth device, and one that a TLS handshake of ours still fits through; in bytes. */
const usualMtu = 1500;
const smallMtu = 1400;
/** Headers of IPv4 and TCP. */
const packetHeadBytes = 40;

let made = 0;

export class NetworkHosts {
  private constructor(
    private readonly prefix: string,
    private megabitsPerSec: number | "unlimited",
  ) {}

  /**
   * Makes them; `close` in afterEach. They are removed with the test process, too, unless that is
   * killed: what an earlier one of the same pid has left is then removed here.
   * Throws with what `ip` said where it is not allowed.
   */
  static async make({ megabitsPerSec = 1000 }: NetworkOptions = {}): Promise<NetworkHosts> {
    made += 1;
    const network = new NetworkHosts(`migrate-${process.pid}-${made}`, megabitsPerSec);
    network.#removeNow();
    process.once("exit", network.#removeNow);
    try {
      for (const host of hosts) await ip("netns", "add", network.namespace(host));
      const [source, destination] = [network.namespace("source"), network.namespace("destination")];
      const peer = ["peer", "name", device, "netns", destination];
      await ip("-n", source, "link", "add", device, "type", "veth", ...peer);
      for (const host of hosts) {
        const inHost = ["-n", network.namespace(host)];
        await ip(...inHost, "address", "add", `${addresses[host]}/24`, "dev", device);
        await ip(...inHost, "link", "set", "lo", "up");
        await ip(...inHost, "link", "set", device, "up");
      }
      await network.restore();
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  /** Its IPv4 address on the link. */
  address(host: NetworkHost): string {
    return addresses[host];
  }

  /** Whether the link's ends have found each other: their kernel takes a moment. */
  async isUp(): Promise<boolean> {
    const words = ["-n", this.namespace("destination"), "-j", "link", "show", device];
    return (await runChild([program("ip"), ...words])).includes('"operstate":"UP"');
  }

  /** Gives both an IPv6 address on the link as well, and returns that of the destination. */
  async addV6(): Promise<string> {
    for (const host of hosts) {
      const words = ["address", "add", `${addressesV6[host]}/64`, "dev", device, "nodad"];
      await ip("-n", this.namespace(host), ...words);
    }
    return addressesV6.destination;
  }

  /** Has the kernel of that host do without IPv6. */
  async withoutV6(host: NetworkHost): Promise<void> {
    await runChild([...this.enter(host), "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"]);
  }

  namespace(host: NetworkHost): string {
    return `${this.prefix}-${host}`;
  }

  /**
   * Bytes that went over the link since it was made, both ways, as its device at the destination
   * counts them: with the headers of what it was handed, which may be cut into several packets later.
   */
  async linkBytes(): Promise<number> {
    const words = ["-n", this.namespace("destination"), "-s", "-j", "link", "show", device];
    const [link] = JSON.parse(await runChild([program("ip"), ...words])) as [LinkStatistics];
    return link.stats64.rx.bytes + link.stats64.tx.bytes;
  }

  /** The words before a command that is to run on that host; the process is then the command's own. */
  enter(host: NetworkHost): string[] {
    return [program("ip"), "netns", "exec", this.namespace(host)];
  }

  /** Starts a command on that host; see startChild. */
  exec(host: NetworkHost, command: string[], options: ChildOptions = {}): Child {
    return startChild([...this.enter(host), ...command], options);
  }

  /**
   * Cuts the link: from now on nothing arrives on either side, and neither is told, as with a switch
   * that has lost its power. Connections stay until somebody loses patience.
   */
  async cut(): Promise<void> {
    for (const host of hosts) await this.#shape(host, "blackhole");
  }

  /** Has the link carry so much in each direction from now on. */
  async setRate(megabitsPerSec: number | "unlimited"): Promise<void> {
    this.megabitsPerSec = megabitsPerSec;
    await this.restore();
  }

  /** The link as it was before it was cut. */
  async restore(): Promise<void> {
    if (this.megabitsPerSec === "unlimited") {
      for (const host of hosts) await this.#shape(host, "noqueue");
      return;
    }
    const rate = `${this.megabitsPerSec}mbit`;
    // The burst must hold what arrives within one tick of the kernel's clock, here 10 ms at 1 Gbit/s.
    for (const host of hosts)
      await this.#shape(host, "tbf", "rate", rate, "burst", "1280kb", "latency", "50ms");
  }

  /**
   * Loses packets of full size on their way to the destination from now on, and tells nobody, as a path with a smaller
   * MTU does where ICMP is filtered: a veth device drops what is longer than its MTU, unless it is cut later (GSO).
   */
  async loseLargePackets(): Promise<void> {
    const [source, destination] = [this.namespace("source"), this.namespace("destination")];
    await ip("-n", destination, "link", "set", device, "mtu", String(smallMtu));
    const net = `${addresses.destination.replace(/\d+$/, "0")}/24`;
    const mss = String(usualMtu - packetHeadBytes);
    await ip(
      "-n",
      destination,
      "route",
      "replace",
      net,
      "dev",
      device,
      "src",
      addresses.destination,
      "advmss",
      mss,
    );
    await ip("-n", source, "link", "set", device, "gso_max_segs", "1");
  }

  /** Removes both hosts and the link. Processes that still run there keep theirs until they end. */
  async close(): Promise<void> {
    process.off("exit", this.#removeNow);
    this.#removeNow();
  }

  async #shape(host: NetworkHost, ...discipline: string[]): Promise<void> {
    const words = ["qdisc", "replace", "dev", device, "root", ...discipline];
    await runChild([program("tc"), "-n", this.namespace(host), ...words]);
  }

  readonly #removeNow = (): void => {
    for (const host of hosts) {
      const words = [program("ip"), "netns", "delete", this.namespace(host)];
      Bun.spawnSync(words, { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    }
  };
}

/** What `ip -s -j link show` says of one device, as far as it is used. */
interface LinkStatistics {
  stats64: { rx: { bytes: number }; tx: { bytes: number } };
}

async function ip(...words: string[]): Promise<void> {
  await runChild([program("ip"), ...words]);
}

/** They lie in folders that are not in everybody's PATH. */
function program(name: "ip" | "tc"): string {
  return findProgram(name) ?? name;
}
