/** `migrate vnc-relay`: for this program's own use; see vm/qemu/attendants/vnc-relay.ts. */
import { defineCommand } from "./cli/define-command.ts";

export default defineCommand({
  name: "migrate vnc-relay",
  summary: "show a VM's screen on a port of this host",
  hidden: true,
  options: {},
  examples: [["migrate vnc-relay", "started by migrate serve itself"]],
  side: "destination",
  async run() {
    const { relayScreen } = await import("../vm/qemu/attendants/vnc-relay.ts");
    await relayScreen();
    return undefined;
  },
});
