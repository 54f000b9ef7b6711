/** Domains for tests: whole ones as tools make them and libvirt 9 writes them, and small ones from parts. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dir, "domains");

/** Names of the whole domains, without ".xml". */
export const wholeDomains: readonly string[] = readdirSync(folder)
  .map((name) => name.replace(/\.xml$/, ""))
  .sort();

export function wholeDomain(name: string): string {
  return readFileSync(join(folder, `${name}.xml`), "utf8");
}

export interface DomainParts {
  /** Attributes of <domain>, with a space before each. */
  attributes?: string;
  name?: string;
  uuid?: string;
  /** What stands beside name and memory. */
  top?: string;
  os?: string;
  devices?: string;
}

export const hvm = "<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>";

export function diskXml(target = "vda", path = "/var/lib/libvirt/images/a.qcow2", inner = ""): string {
  return (
    `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>` +
    `<source file='${path}'/><target dev='${target}' bus='virtio'/>${inner}</disk>`
  );
}

/** A small domain that may be moved, with what a test adds to it. */
export function domainXml({
  attributes = "",
  name = "web1",
  uuid = "3c0a6f1e-5b7d-4c2a-9a10-000000000001",
  top = "",
  os = hvm,
  devices = "",
}: DomainParts = {}): string {
  return (
    `<domain type='kvm'${attributes}><name>${name}</name><uuid>${uuid}</uuid>` +
    `<memory unit='MiB'>256</memory><vcpu>1</vcpu>${top}<os>${os}</os><devices>${devices}</devices></domain>`
  );
}
