/** `migrate serial-keeper`: for this program's own use; see vm/qemu/attendants/keeper.ts. */
import { defineCommand } from "./cli/define-command.ts";

export default defineCommand({
  name: "migrate serial-keeper",
  summary: "keep what a VM says on its serial lines, and let programs and consoles in",
  hidden: true,
  positionals: {
    names: ["LINE"],
    least: 1,
    many: true,
    about: ["Names of the lines' sockets in the working folder, in their order"],
  },
  options: {},
  examples: [["migrate serial-keeper serial0", "started by migrate serve itself"]],
  side: "destination",
  async run({ positionals }) {
    const { keepSerialLines } = await import("../vm/qemu/attendants/keeper.ts");
    await keepSerialLines(positionals);
    return undefined;
  },
});
