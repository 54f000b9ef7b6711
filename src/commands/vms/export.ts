/** `migrate export`: the XML with which libvirt takes over a VM that lies here. */
import { type CardBackend, exportVm } from "../../migration/operator/export-vm.ts";
import { findVm } from "../../migration/operator/find-vm.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { usageErrors } from "../cli/arguments.ts";
import { homeOf } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { toggle, withDefault } from "../cli/option.ts";
import { nameAbout, storeOption } from "./vm-name.ts";

const name = "migrate export";

export default defineCommand({
  name,
  summary: "print what libvirt takes over a VM with that lies here",
  about:
    "Prints the XML of a domain that is the same machine, for virsh define: board, processor, memory, disks, firmware, TPM, MAC addresses, and every device in its place; and, on standard error, what is to be done in which order. Nothing is changed. What is different is named in comments; what libvirt has no word for, and the guest would notice, is refused by name. The VM must have arrived while it ran, and be this host's.",
  positionals: { names: ["NAME"], least: 1, about: [nameAbout] },
  options: {
    libvirt: toggle("For libvirt"),
    net: withDefault(
      "none|user|bridge:NAME|network:NAME",
      "What is behind the VM's network cards: nothing (their cables are pulled), QEMU's user network, a bridge of this host, a network of libvirt's",
      "none",
      parseNet,
    ),
    store: storeOption,
  },
  examples: [
    [`${name} web1 --libvirt`, "look at it, and at what is to be done"],
    [
      `${name} web1 --libvirt --net network:default`,
      "with its cards on a network of libvirt's; its output is for virsh define",
    ],
  ],
  async run({ options, positionals, world, reporter }) {
    if (!options.libvirt) throw usageErrors(name)("It is not said what for", "Give --libvirt.");
    const home = homeOf(world);
    const { folder } = findVm({ home, given: positionals[0] ?? "", store: options.store });
    const { name: vm, xml, notes, steps } = exportVm({ home, folder, net: options.net });
    reporter.result({ event: "exported", name: vm, folder, xml, notes, steps }, xml.trimEnd());
    if (!reporter.json) {
      reporter.aside(`What is to be done, so that libvirt has ${vm}:`);
      for (const step of steps) reporter.aside(`  ${step}`);
    }
    return undefined;
  },
});

/** Null for nothing. */
function parseNet(text: string): CardBackend | null {
  if (text === "none") return null;
  if (text === "user") return { kind: "user" };
  const [, kind, of = ""] = /^(bridge|network):([\w.-]{1,63})$/.exec(text) ?? [];
  if (kind === "bridge" || kind === "network") return { kind, name: of };
  throw new MigrateError("usage", `must be none, user, bridge:NAME or network:NAME, not "${text}"`);
}
