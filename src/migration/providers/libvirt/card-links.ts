/** Cards that have nothing behind them here: whether their link is up comes with the memory of a domain, and is undone. */
import { MigrateError } from "../../../protocol/errors.ts";
import type { Domain } from "../../../vm/libvirt/definition/domain.ts";
import { cardsOf } from "./arriving-xml.ts";
import type { LibvirtConfig } from "./landing-host.ts";

/**
 * Cuts the links of a domain that is there, paused, of which the memory has come. Throws as `Virsh.run`, and
 * MigrateError "bug" if a card has no address by which libvirt knows it (`checkDomain` lets none in).
 */
export async function cutLinks(present: Domain, { host, netMap }: LibvirtConfig): Promise<void> {
  const cut = cardsOf(present, netMap).flatMap((place, n) =>
    place.kind === "none" ? [addressOf(present, n)] : [],
  );
  if (cut.length === 0) return;
  // What its definition says already, libvirt does not tell QEMU again (qemu_hotplug.c, qemuDomainChangeNet).
  const commands = cut.flatMap((mac) =>
    ["up", "down"].map(
      (state) => `domif-setlink --domain ${present.uuid} --interface ${mac} --state ${state}`,
    ),
  );
  // The VM stands still meanwhile: one virsh does it all. It ends as its last command does, whatever the others did.
  const { code, errors } = await host.virsh.ask([commands.join("; ")]);
  if (code !== 0 || errors.trim() !== "") throw host.virsh.failure("cut a network card off", errors);
}

function addressOf({ cards }: Domain, n: number): string {
  const mac = cards[n]?.mac;
  if (mac) return mac;
  throw new MigrateError("bug", "a card that is to be cut off has no address");
}
