/** The domains of libvirt as rows of `migrate ls`: in what state, and whether they can be moved. */
import { lookAtDomain } from "../../migration/providers/libvirt/domain-look.ts";
import { which } from "../../platform/host.ts";
import { allDomains, requireDomain } from "../../vm/libvirt/domains.ts";
import { systemUri, Virsh } from "../../vm/libvirt/virsh.ts";

export interface DomainRow {
  name: string;
  uuid: string;
  /** "running", "paused", "off" or "saved". */
  state: string;
  ramBytes: number | null;
  /** Full paths. */
  disks: readonly string[];
  tpm: boolean;
  /** Whether `migrate send` takes it. */
  movable: boolean;
  /** Why it does not. */
  reason?: string;
}

/** libvirt is asked of so many at once. */
const atOnce = 8;

/** All domains that this user may ask of; none if there is no libvirt, or it does not answer. Never throws. */
export async function domainRows(): Promise<DomainRow[]> {
  if (which("virsh") === null) return [];
  const virsh = new Virsh(systemUri, "source");
  const uuids = await allDomains(virsh).catch(() => []);
  const rows: DomainRow[] = [];
  for (let from = 0; from < uuids.length; from += atOnce) {
    const some = uuids.slice(from, from + atOnce).map((uuid) => rowOf(virsh, uuid).catch(() => null));
    rows.push(...(await Promise.all(some)).filter((row) => row !== null));
  }
  return rows.sort((a, b) => a.name.localeCompare(b.name));
}

async function rowOf(virsh: Virsh, uuid: string): Promise<DomainRow> {
  const { info, domain, offered, refusals } = await lookAtDomain(virsh, uuid, {
    live: true,
    drop: [],
    patienceMs: 0,
  }).catch(async (thrown: unknown) => ({
    info: await requireDomain(virsh, uuid),
    domain: null,
    offered: null,
    refusals: [thrown as Error],
  }));
  const [first] = refusals;
  return {
    name: info.name,
    uuid,
    state: info.isSaved && info.state === "off" ? "saved" : info.state,
    ramBytes: domain?.memoryBytes ?? null,
    disks: domain?.disks.flatMap(({ path }) => path ?? []) ?? [],
    tpm: domain?.tpm != null,
    movable: offered !== null,
    ...(first === undefined ? {} : { reason: first.message }),
  };
}
