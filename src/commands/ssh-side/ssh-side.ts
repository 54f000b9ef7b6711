/**
 * `migrate ssh-side`: what a source that came by ssh runs on this host. It finds a serve of the store, or starts one for
 * a move alone, and prints one line of JSON; nothing that is secret stands on a command line.
 */
import { resolve } from "node:path";
import { asMigrateError } from "../../protocol/errors.ts";
import { jsonLine } from "../../protocol/printable.ts";
import { usageErrors } from "../cli/arguments.ts";
import { homeOf } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { duration, optional, toggle, withDefault } from "../cli/option.ts";
import { endOneTimeServe, openForSsh } from "./open-for-ssh.ts";

const name = "migrate ssh-side";

export default defineCommand({
  name,
  summary: "receive a VM from a host that came by ssh",
  hidden: true,
  positionals: {
    names: ["open|end|end-idle"],
    least: 1,
    about: ["Find or start a serve; or end one that was started so, or only if it has no session"],
  },
  options: {
    store: optional("DIR", "Folder that the VMs go to"),
    qemu: toggle("Take in VMs that run"),
    libvirt: toggle("Take in VMs of libvirt"),
    attest: toggle("Prove what this host runs to who asks"),
    tcp: toggle("Listen on TCP as well"),
    onlyIfThere: toggle("Make no folder for VMs where there is none"),
    idle: withDefault(
      "TIME",
      "How long a serve waits for somebody to call",
      "10m",
      duration(1000, 7 * 24 * 3_600_000),
    ),
  },
  examples: [[`${name} open --store /srv/vms --idle 600s`, "started by migrate send itself"]],
  side: "destination",
  async run({ options, positionals: [verb], world }) {
    const { store, qemu, libvirt, attest, tcp, onlyIfThere, idle: idleMs } = options;
    const asked = store === undefined ? undefined : resolve(store);
    try {
      const home = homeOf(world);
      if (verb === "end" || verb === "end-idle") await endOneTimeServe(home, asked, verb === "end-idle");
      else if (verb === "open") {
        const wishes = { qemu, libvirt, attest, tcp, onlyIfThere, idleMs };
        world.stdout.write(
          `${jsonLine({ answer: "opened", ...(await openForSsh({ ...wishes, self: world.self, env: world.env, home, store: asked })) })}\n`,
        );
      } else throw usageErrors(name)("open, end or end-idle is expected");
      return undefined;
    } catch (thrown) {
      const { code, message, hint, exitCode } = asMigrateError(thrown);
      world.stdout.write(`${jsonLine({ answer: "failed", code, message, ...(hint ? { hint } : {}) })}\n`);
      return exitCode;
    }
  },
});
