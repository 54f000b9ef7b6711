/**
 * Two libvirt hosts in network namespaces of their own, joined by a link, on which every way of moving a domain
 * works: libvirtd at the destination listens on TCP and TLS (libvirt, remote.html), and QEMU there takes what comes.
 */
import { existsSync, readFileSync } from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { NetworkHosts } from "../../support/moves/links/network-hosts.ts";
import { findProgram } from "../../support/runner/needs.ts";
import type { LinkName } from "../link.ts";
import { makeCertificates } from "../qemu/certificates.ts";
import { QemuStops } from "./qemu-stops.ts";

const rates = { loopback: "unlimited", gigabit: 1000 } as const;

export interface Ground {
  folder: string;
  source: LibvirtHost;
  destination: LibvirtHost;
  /** The destination's IPv4 address on the link. */
  address: string;
  /** A folder with the certificates of the source as `pkipath` wants them; undefined without openssl. */
  clientPki: string | undefined;
  /** When QEMU stopped and resumed guests, on either host. */
  stops: QemuStops;
  /** Has the link be as it is named from now on. */
  shape(link: LinkName): Promise<void>;
  /** Bytes over the link so far, both ways, headers included. */
  wireBytes(): Promise<number>;
  close(): Promise<void>;
}

/** Starts both in `folder`, which is there. Throws what did not start, with nothing left behind. */
export async function openGround(folder: string): Promise<Ground> {
  const network = await NetworkHosts.make({ megabitsPerSec: "unlimited" });
  const hosts: LibvirtHost[] = [];
  const stops = new QemuStops();
  const close = async (): Promise<void> => {
    await stops.close();
    await Promise.all(hosts.splice(0).map((host) => host.stop()));
    await network.close();
  };
  try {
    const address = network.address("destination");
    const pki = findProgram("openssl") === null ? undefined : await makePki(folder, address);
    const migrateTls = pki === undefined ? [] : [`migrate_tls_x509_cert_dir = "${pki.folder}"`];
    const start = async (name: string, side: "source" | "destination"): Promise<LibvirtHost> => {
      const host = await LibvirtHost.start(folder, name, {
        network: network.namespace(side),
        reaps: true,
        qemuConf: [`migration_host = "${network.address(side)}"`, ...migrateTls],
        ...(side === "destination"
          ? { listens: true, libvirtdConf: listening(address, pki?.serverSettings) }
          : {}),
      });
      hosts.push(host);
      return host;
    };
    const source = await start("hosta", "source");
    const destination = await start("hostb", "destination");
    await stops.watch(source);
    await stops.watch(destination);
    return {
      folder,
      source,
      destination,
      address,
      clientPki: pki?.client,
      stops,
      shape: async (link) => await network.setRate(rates[link]),
      wireBytes: async () => await network.linkBytes(),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Lines for libvirtd.conf. */
function listening(address: string, tls: readonly string[] | undefined): string[] {
  return [
    `listen_addr = "${address}"`,
    "listen_tcp = 1",
    'auth_tcp = "none"',
    ...(tls === undefined ? ["listen_tls = 0"] : ["listen_tls = 1", ...tls]),
  ];
}

/** The same authority and certificates for the libvirtd (libvirt, tlscerts.html) and the QEMUs of both hosts. */
async function makePki(
  folder: string,
  address: string,
): Promise<{ folder: string; client: string; serverSettings: string[] }> {
  const pki = join(folder, "pki");
  await makeCertificates(pki, address);
  const client = join(folder, "client-pki");
  await mkdir(client, { mode: 0o700 });
  await copyFile(join(pki, "ca-cert.pem"), join(client, "cacert.pem"));
  await copyFile(join(pki, "client-cert.pem"), join(client, "clientcert.pem"));
  await copyFile(join(pki, "client-key.pem"), join(client, "clientkey.pem"));
  const serverSettings = [
    `ca_file = "${join(pki, "ca-cert.pem")}"`,
    `cert_file = "${join(pki, "server-cert.pem")}"`,
    `key_file = "${join(pki, "server-key.pem")}"`,
  ];
  return { folder: pki, client, serverSettings };
}

/** The end of what libvirtd and a domain's QEMU wrote on both hosts. */
export function lastWords({ source, destination }: Ground, domain: string): string {
  const logs = [source, destination].flatMap((host) => [
    `libvirtd on ${host.name}: ${host.libvirtdLog().slice(-1000)}`,
    `QEMU on ${host.name}: ${qemuSaid(host, domain)}`,
  ]);
  return logs.join("\n");
}

/** Its command line, which is long, is left out. */
function qemuSaid(host: LibvirtHost, domain: string): string {
  const path = join(host.outside("/var/log/libvirt/qemu"), `${domain}.log`);
  const log = existsSync(path) ? readFileSync(path, "utf8") : "";
  return log
    .split("\n")
    .filter((line) => !line.endsWith("\\") && !line.startsWith("-"))
    .slice(-5)
    .join("\n");
}
