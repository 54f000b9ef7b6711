/** `migrate history`: the sessions that have ended on this host. */
import { history } from "../migration/operator/status.ts";
import { homeOf } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { sessionColumns } from "./cli/session-table.ts";

export default defineCommand({
  name: "migrate history",
  summary: "show the sessions that have ended on this host",
  options: {},
  examples: [["migrate history --json", "all of them, one JSON object a line"]],
  async run({ world, reporter }) {
    reporter.table(
      "history",
      sessionColumns(Date.now(), true),
      history(homeOf(world)),
      "No session has ended here yet.",
    );
    return undefined;
  },
});
