/** `migrate explain libvirt:NAME`: what the destination's libvirt would be told of a domain, and what would be refused. */
import { join } from "node:path";
import { cardsOf, presentOf, readBoth, xmlIn } from "../../migration/providers/libvirt/arriving-xml.ts";
import { lookAtDomain } from "../../migration/providers/libvirt/domain-look.ts";
import type { MigrateError } from "../../protocol/errors.ts";
import type { NetMap } from "../../vm/libvirt/definition/net-map.ts";
import { xmlDifference } from "../../vm/libvirt/definition/xml-difference.ts";
import { domainXml } from "../../vm/libvirt/domains.ts";
import { Virsh } from "../../vm/libvirt/virsh.ts";

export interface DomainExplanation {
  name: string;
  /** What it would be there that it is not here ("+"), and the reverse ("-"). */
  difference: string[];
  /** The XML that the destination would make; null if anything is refused. */
  xml: string | null;
  notes: string[];
  refusals: readonly MigrateError[];
}

/** What libvirt gives to a domain whenever it starts one: no other host could have the same. */
const givenAnew =
  /^- (?:domain id=\d+$|seclabel|resource|devices\/emulator|.*\/alias name=(?!ua-)|.*\/backingStore$|.* (?:tty|path)=\/dev\/pts\/|.*\/target (?:state=\w+|dev=vnet\d+)$|.*\/source mode=bind path=\/var\/lib\/libvirt\/)/;

/** Looks at a domain, as `send` would. Throws MigrateError if there is none, or libvirt cannot be asked. */
export async function explainDomain(
  which: string,
  {
    connect,
    live,
    drop,
    netMap,
    isTold,
  }: {
    connect: string;
    live: boolean;
    drop: readonly string[];
    netMap: NetMap;
    /** The destination says itself what becomes of the cards. */
    isTold: boolean;
  },
): Promise<DomainExplanation> {
  const virsh = new Virsh(connect, "source");
  const look = await lookAtDomain(virsh, which, { live, drop, patienceMs: 0 });
  const { info, offered, notes, refusals } = look;
  if (offered === null) return { name: info.name, difference: [], xml: null, notes, refusals };
  const present = presentOf(readBoth(offered));
  const xml = xmlIn(join("/STORE", info.name), present, netMap, { fromStream: false });
  const today = await domainXml(virsh, info.uuid, offered.active === undefined ? "defined" : "live");
  const cards = cardsOf(present, netMap);
  const cut = cards.filter(({ kind }) => kind === "none").length;
  return {
    name: info.name,
    difference: xmlDifference(today, xml)
      .filter((line) => !givenAnew.test(line))
      .map((line) => line.replaceAll("/STORE/", "STORE/")),
    xml,
    notes:
      cut === 0 || isTold
        ? notes
        : [
            ...notes,
            `${cut} of its ${cards.length} network cards would have nothing behind them there: serve --net-map says what is`,
          ],
    refusals,
  };
}
