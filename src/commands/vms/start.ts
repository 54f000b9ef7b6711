/** `migrate start`: starts a VM that arrived on this host and whose QEMU has ended. */
import { findVm } from "../../migration/operator/find-vm.ts";
import { startRules, startVm } from "../../migration/operator/start.ts";
import { Confinement } from "../../vm/confinement/confinement.ts";
import { vncPolicies } from "../../vm/qemu/definition/consoles/display.ts";
import { homeOf } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { netPolicyAbout, netPolicyForm, parseNetPolicy } from "../cli/net-policy.ts";
import { oneOf, optional, toggle } from "../cli/option.ts";
import { parseUserRange } from "../cli/user-range.ts";
import { nameAbout, storeOption } from "./vm-name.ts";

const name = "migrate start";

export default defineCommand({
  name,
  summary: "start a VM that arrived here while it ran, once its QEMU has ended",
  about:
    "Starts a QEMU from the definition in the VM's vm.json, as its arrival did: with the memory, processor, devices and MAC addresses that it had, its files in its folder, sockets in MIGRATE_HOME/run/NAME. It boots. Networks, emulation, users and display are those that migrate serve gave it when it arrived, unless a flag says otherwise. A VM that runs already stays as it is. Refused is one that another host owns, that is being sent, or that another program has.",
  positionals: {
    names: ["NAME"],
    least: 1,
    about: [nameAbout],
  },
  options: {
    store: storeOption,
    net: optional(
      netPolicyForm,
      `What is behind the VM's network cards (default: as when it arrived), ${netPolicyAbout}`,
      parseNetPolicy,
    ),
    allowTcg: toggle("A VM that ran with KVM may run without it, slowly (default: as when it arrived)"),
    vnc: optional(
      vncPolicies.join("|"),
      "What shows the VM's screen, if it has one (default: as when it arrived): a socket in its run folder, or a port of 127.0.0.1, without a password",
      oneOf(vncPolicies),
    ),
    vmUsers: optional(
      "FIRST-LAST|off",
      "As root: the users of which one runs the VM (default: as when it arrived, else 1900000000-1900065535)",
      parseUserRange,
    ),
  },
  examples: [
    [`${name} web1`, "start web1 again, as it ran when it had arrived"],
    [`${name} /var/lib/vms/web1 --net bridge:br0`, "and with its card on a bridge"],
  ],
  async run({ options, positionals, world, reporter }) {
    const [given = ""] = positionals;
    const home = homeOf(world);
    const { folder } = findVm({ home, given, store: options.store });
    const kept = startRules(folder);
    const users = options.vmUsers ?? kept.users;
    const confinement = await Confinement.find({ self: world.self, users });
    const policy = {
      ...kept,
      ...(options.net === undefined ? {} : { net: options.net }),
      allowTcg: options.allowTcg || kept.allowTcg,
      ...(options.vnc === undefined ? {} : { vnc: options.vnc }),
      users,
      confinement,
    };
    const vm = await startVm({ home, folder, policy });
    const { qmpPath, process, wasThere, notes, screen } = vm;
    for (const message of wasThere ? [] : confinement.lacks) reporter.observer({ event: "warning", message });
    for (const note of wasThere ? [] : notes) reporter.observer({ event: "notice", message: note });
    reporter.result(
      {
        event: "started",
        name: vm.name,
        qmp: qmpPath,
        pid: process.pid,
        wasThere,
        ...(screen === undefined ? {} : { screen }),
      },
      `${vm.name} runs${wasThere ? " already" : ""}. QMP answers at ${qmpPath}${screen === undefined ? "" : `\n${screen}`}`,
    );
    return undefined;
  },
});
