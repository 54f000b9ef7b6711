/**
 * `migrate ssh-child`: becomes ssh, for this program's own use. So ssh ends with the process that needs it, however that
 * ends, and a Ctrl-C on the terminal that they share is that process's to take (ssh leaves SIGINT ignored if it finds it
 * so).
 */
import { become } from "../../platform/confine/program.ts";
import { endWithParent } from "../../platform/confine/rights.ts";
import { defineCommand } from "../cli/define-command.ts";

export default defineCommand({
  name: "migrate ssh-child",
  summary: "become a program that ends with the process that started it",
  hidden: true,
  positionals: {
    names: ["PARENT", "WORD"],
    least: 2,
    many: true,
    about: ["The process id of the one that starts it", "The program and its arguments"],
  },
  options: {},
  examples: [["migrate ssh-child 4711 -- /usr/bin/ssh -N hostb", "started by migrate send itself"]],
  async run({ positionals: [parent, ...argv], world }) {
    const env = Object.entries(world.env).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value]],
    );
    // Not SIGKILL: ssh gives a terminal back as it was before it asked there.
    endWithParent("SIGTERM");
    // It may have ended before that was asked for.
    if (String(process.ppid) !== parent) return undefined;
    return become(argv, Object.fromEntries(env), { ignored: ["SIGINT", "SIGQUIT"] });
  },
});
