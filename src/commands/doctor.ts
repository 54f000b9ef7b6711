/** `migrate doctor`: what this host can and cannot do. */
import { resolve } from "node:path";
import { migrateHome } from "../home/home.ts";
import { exitCodes } from "../protocol/errors.ts";
import { printable } from "../protocol/printable.ts";
import { padEnd } from "../terminal/line.ts";
import { defineCommand } from "./cli/define-command.ts";
import { optional } from "./cli/option.ts";
import { type Check, hostChecks, storeChecks } from "./doctor/doctor-checks.ts";

export default defineCommand({
  name: "migrate doctor",
  summary: "show what this host can and cannot do, and what helps",
  about:
    "Ends with 0 when nothing is a problem, with 2 when something is. A warning is no problem: migrations work, with less.",
  options: { store: optional("DIR", "Look at this folder as the store of migrate serve as well") },
  examples: [["migrate doctor --store /srv/vms", "before the first migrate serve"]],
  async run({ options, world, reporter }) {
    const checks = [
      ...(await hostChecks(migrateHome(world.env), world.self)),
      ...(options.store === undefined ? [] : storeChecks(resolve(options.store))),
    ];
    for (const check of checks) reporter.result({ event: "check", ...check }, lineOf(check));
    return checks.some((check) => check.state === "problem") ? exitCodes.usage : exitCodes.done;
  },
});

function lineOf({ check, state, message, help }: Check): string {
  const line = `${padEnd(state, 7)}  ${padEnd(check, 8)}  ${printable(message)}`;
  return help === undefined ? line : `${line}\n${" ".repeat(19)}${printable(help)}`;
}
