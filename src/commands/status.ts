/** `migrate status`: the sessions that have not ended, here and on another host. */
import { remoteStatus, type SessionRow } from "../migration/operator/status.ts";
import { statusHere } from "../migration/operator/tune.ts";
import type { MoveLook } from "../migration/source/control-messages.ts";
import { formatDuration } from "../terminal/format.ts";
import { tuningFacts } from "../terminal/sentences.ts";
import { homeOf } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { otherHost, otherHostOptions, otherHostPositional, whileOpen } from "./cli/other-host.ts";
import { sessionColumns } from "./cli/session-table.ts";

const name = "migrate status";

export default defineCommand({
  name,
  summary: "show the sessions under way: phase, owner, progress, age",
  about:
    "Without an address the sessions of this host; with one, those that the other host has with this one as well. What has ended is shown by migrate history.",
  positionals: otherHostPositional,
  options: otherHostOptions,
  examples: [
    [name, "what is under way here"],
    [`${name} 192.0.2.7:7600`, "and over there"],
  ],
  async run({ options, positionals, world, reporter }) {
    const other = otherHost(name, positionals, options, { world, reporter });
    const home = homeOf(world);
    const columnsOf = (rows: readonly SessionRow[]) => sessionColumns(Date.now(), false, rows);
    const here = (await statusHere(home)).map((row) => ({ where: "here", ...row }));
    if (other !== null && !reporter.json) reporter.note("Here:");
    reporter.table("status", columnsOf(here), here, "No session is under way here.");
    for (const row of reporter.json ? [] : here) {
      sayCode(row, (text) => reporter.note(text));
      if (row.move !== undefined) reporter.note(moveText(row.name, row.move));
    }
    if (other === null) return undefined;
    const { where } = other;
    const rows = await whileOpen(other, { home, onlyIfThere: true }, { world, reporter }, (host) =>
      remoteStatus({ ...other, ...host, home }),
    );
    if (!reporter.json) reporter.note(`On ${where}:`);
    const there = rows.map((row) => ({ where, ...row }));
    reporter.table("status", columnsOf(there), there, "No session is under way there.");
    return undefined;
  },
});

/** How a process of this host sends a VM just now, and what its time-out will do. */
function moveText(vm: string, { tuning, timeoutInMs, onTimeout }: MoveLook): string {
  const facts = tuningFacts(tuning);
  if (timeoutInMs !== undefined) {
    const what = onTimeout === "force" ? "it is stopped, so that it gets done," : "the move is given up";
    const done = onTimeout === "force" ? "it was to be stopped, so that it gets done" : "it is late";
    facts.push(
      timeoutInMs > 0
        ? `${what} in ${formatDuration(timeoutInMs)} if it is not at the handover by then`
        : `--timeout is over: ${done}`,
    );
  }
  return `${vm} is being sent: ${facts.join("; ")}`;
}

/** What a person needs who settles the session at the destination while the two hosts cannot speak. */
function sayCode(
  { name: vm, session, releaseCode, receipts }: SessionRow,
  say: (text: string) => void,
): void {
  if (releaseCode === undefined) return;
  const command = `migrate resolve ${session.slice(0, 12)} --owner destination --code ${releaseCode}`;
  say(
    `${vm} is released, and its destination has not said that it has it. If the two cannot speak, there: ${command}`,
  );
  if (receipts?.includes("release") !== true) return;
  say(
    `Or with what migrate receipt show ${session.slice(0, 12)} writes here: migrate resolve ${session.slice(0, 12)} --receipt FILE there`,
  );
}
