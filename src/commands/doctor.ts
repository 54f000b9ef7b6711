/** `migrate doctor`: what this host can and cannot do. */
import { resolve } from "node:path";
import { migrateHome } from "../home/home.ts";
import { exitCodes } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";
import { padEnd, wrapped } from "../terminal/line.ts";
import { defineCommand } from "./cli/define-command.ts";
import { optional } from "./cli/option.ts";
import { type Check, hostChecks, keptCheck, restoredCheck, storeChecks } from "./doctor/doctor-checks.ts";
import { tpmCheck } from "./doctor/tpm-check.ts";

export default defineCommand({
  name: "migrate doctor",
  summary: "show what this host can and cannot do, and what helps",
  about:
    "Ends with 0 when nothing is a problem, with 6 when something is. A warning is no problem: migrations work, with less.",
  options: { store: optional("DIR", "Look at this folder as the store of migrate serve as well") },
  examples: [["migrate doctor --store /srv/vms", "before the first migrate serve"]],
  async run({ options, world, reporter }) {
    const home = migrateHome(world.env);
    const store = options.store === undefined ? undefined : resolve(options.store);
    const checks = [
      ...(await hostChecks(home, world.self)),
      await tpmCheck(home, world.env),
      ...(await restoredCheck(home)),
      ...keptCheck(home, store),
      ...(options.store === undefined ? [] : storeChecks(resolve(options.store))),
    ];
    for (const check of checks)
      reporter.result({ event: "check", ...check }, textOf(check, reporter.columns()));
    return checks.some((check) => check.state === "problem") ? exitCodes.refused : exitCodes.done;
  },
});

/** Where the sentences begin. */
const indent = 19;

function textOf({ check, state, message, help }: Check, columns: number): string {
  const lines = [message, ...(help === undefined ? [] : [help])].flatMap((text) =>
    wrapped(printable(text), columns - indent),
  );
  const margin = `\n${" ".repeat(indent)}`;
  return `${padEnd(state, 7)}  ${padEnd(check, 8)}  ${lines.join(margin)}`;
}
