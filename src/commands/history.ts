/** `migrate history`: the sessions that have ended, here or on another host. */
import { history, remoteHistory, type SessionRow } from "../migration/operator/status.ts";
import { homeOf } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { otherHost, otherHostOptions, otherHostPositional, whileOpen } from "./cli/other-host.ts";
import { sessionColumns } from "./cli/session-table.ts";

const name = "migrate history";

export default defineCommand({
  name,
  summary: "show the sessions that have ended",
  about:
    "Without an address those of this host; with one, those that the other host has had with this one, as it has them. With --json each has in proofs what was proven in it, by send --attest or serve --require-attestation, and the files with the evidence.",
  positionals: otherHostPositional,
  options: otherHostOptions,
  examples: [
    [`${name} --json`, "all of this host, one JSON object a line"],
    [`${name} 192.0.2.7:7600`, "what that one says of them"],
  ],
  async run({ options, positionals, world, reporter }) {
    const other = otherHost(name, positionals, options, { world, reporter });
    const home = homeOf(world);
    const columnsOf = (rows: readonly SessionRow[]) => sessionColumns(Date.now(), true, rows);
    if (other === null) {
      const here = history(home);
      reporter.table("history", columnsOf(here), here, "No session has ended here yet.");
      return undefined;
    }
    const { where } = other;
    const rows = await whileOpen(other, { home, onlyIfThere: true }, { world, reporter }, (host) =>
      remoteHistory({ ...other, ...host, home }),
    );
    const there = rows.map((row) => ({ where, ...row }));
    reporter.table("history", columnsOf(there), there, "No session with this host has ended there.");
    return undefined;
  },
});
