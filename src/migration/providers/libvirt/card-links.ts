/** Cards that have nothing behind them here: whether their link is up comes with the memory of a domain, and is undone. */
import type { Domain } from "../../../vm/libvirt/definition/domain.ts";
import { cardsOf } from "./arriving-xml.ts";
import type { LibvirtConfig } from "./landing-host.ts";

/**
 * Cuts the links of a domain that is there, paused, of which the memory has come. Throws as `Virsh.run`, and
 * MigrateError "bug" if a card has no address by which libvirt knows it (`checkDomain` lets none in).
 */
export async function cutLinks(present: Domain, { host, netMap }: LibvirtConfig): Promise<void> {
  const cut = cardsOf(present, netMap).flatMap((place, n) =>
    place.kind === "none" ? [present.cards[n]!.mac!] : [],
  );
  await Promise.all(
    cut.map((mac) =>
      host.virsh.run(["domif-setlink", "--domain", present.uuid, "--interface", mac, "--state", "down"]),
    ),
  );
}
