/** `migrate prune`: what this program left on this host, and taking it away. */
import type { LeftoverKind } from "../../migration/operator/prune/leftover.ts";
import { type LeftoverRow, Pruning } from "../../migration/operator/prune/prune.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { formatAge, formatBytes } from "../../terminal/format.ts";
import type { Column } from "../../terminal/table.ts";
import { sweepPrivateCopies } from "../../vm/tpm/private-copy.ts";
import { confirmed, homeOf } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { duration, optional, toggle, withDefault } from "../cli/option.ts";

const name = "migrate prune";
const longestMs = 10 * 365 * 24 * 3_600_000;

const kindTexts: Record<LeftoverKind, string> = {
  migrated: "moved away",
  staging: "half received",
  "run-folder": "run folder",
  binary: "copy of migrate",
  sessions: "history",
};

export default defineCommand({
  name,
  summary: "show what moves left here and what it takes, and remove it",
  about:
    "Files of VMs that were moved away (*.migrated), what was received of sessions that are over, run folders of VMs that have ended, copies of this program that moves by ssh left in the cache, and sessions that ended. Asks on a terminal, removes with --yes, and else only shows. Never touched are what belongs to a session that has not ended, a VM under its own name, and what a process has open. A file that ends in .migrated and that no session of this host's journal, or not its own mark, accounts for is shown and stays.",
  options: {
    olderThan: withDefault("TIME", "Only what was left so long ago or longer", "30d", duration(0, longestMs)),
    store: optional("DIR", "Look in this store as well"),
    yes: toggle("Remove it, without asking"),
  },
  examples: [
    [name, "what there is; asks before anything goes"],
    [`${name} --older-than 7d --yes`, "from a timer: all that is a week old"],
  ],
  async run({ options, world, reporter }) {
    const nowMs = Date.now();
    // Nothing that anybody could want to keep: it is not asked for.
    await sweepPrivateCopies();
    const pruning = new Pruning({
      home: homeOf(world),
      env: world.env,
      store: options.store,
      olderThanMs: options.olderThan,
      nowMs,
    });
    try {
      const { rows } = pruning;
      const shown = rows.map(({ stays, ...row }) => ({
        ...row,
        goes: stays === undefined,
        ...(stays === undefined ? {} : { stays }),
      }));
      reporter.table("leftover", columns(nowMs), shown, "Nothing is left of what is over.");
      const going = rows.filter(({ stays }) => stays === undefined);
      if (going.length === 0) return undefined;
      const bytes = sum(going);
      const what = `${going.length} of ${rows.length}, ${formatBytes(bytes)}`;
      const mayAsk = world.stdin.isTTY === true;
      if (!options.yes && (!mayAsk || !(await confirmed(world, `Remove ${what}, for good?`)))) {
        if (!reporter.json) reporter.note(`${what}, would go: ${name} --yes removes that.`);
        return undefined;
      }
      const { removed, failed } = pruning.remove();
      for (const { path, why } of failed) reporter.warn(`${path} stays: ${why}`);
      reporter.result(
        { event: "pruned", removed: removed.map(({ path }) => path), bytes: sum(removed) },
        `Removed ${removed.length} of ${rows.length}: ${formatBytes(sum(removed))} are free again.`,
      );
      if (failed.length > 0)
        throw new MigrateError("io", `${failed.length} of what was to go stays`, {
          hint: "What stays is named above; the same command tries again.",
        });
      return undefined;
    } finally {
      pruning.close();
    }
  },
});

type Row = LeftoverRow & { goes: boolean };

function columns(nowMs: number): Column<Row>[] {
  return [
    { title: "WHAT", cell: ({ kind }) => kindTexts[kind] },
    { title: "PATH", cell: ({ path }) => path },
    { title: "SIZE", cell: ({ bytes }) => formatBytes(bytes), align: "right" },
    { title: "SINCE", cell: ({ sinceMs }) => formatAge(sinceMs, nowMs) },
    { title: "GOES", cell: ({ stays }) => (stays === undefined ? "yes" : `no: ${stays}`) },
    { title: "OF", cell: ({ about = "" }) => about },
  ];
}

function sum(rows: readonly LeftoverRow[]): number {
  return rows.reduce((bytes, row) => bytes + row.bytes, 0);
}
