/** `migrate send-guard`: for this program's own use; see migration/source/guard.ts. */
import { watchOver } from "../migration/source/guard.ts";
import { homeOf } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";

export default defineCommand({
  name: "migrate send-guard",
  summary: "resume a running VM if the process that moves it dies",
  hidden: true,
  positionals: { names: ["SESSION"], least: 1, about: ["The session that is watched"] },
  options: {},
  examples: [["migrate send-guard 0123456789abcdef0123456789abcdef", "started by migrate send itself"]],
  side: "source",
  async run({ positionals, world, reporter }) {
    const [session = ""] = positionals;
    await watchOver({ home: homeOf(world), session, input: Bun.stdin.stream() }, reporter.observer);
    return undefined;
  },
});
