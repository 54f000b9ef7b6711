/** `migrate confined`: for this program's own use; see vm/confinement/enter.ts. */
import { MigrateError } from "../protocol/errors.ts";
import { becomeConfined, confine } from "../vm/confinement/enter.ts";
import { parsePlan } from "../vm/confinement/plan.ts";
import { defineCommand } from "./cli/define-command.ts";

export default defineCommand({
  name: "migrate confined",
  summary: "become a program that may do and see what it is given, and nothing else",
  hidden: true,
  positionals: {
    names: ["PLAN", "WORD"],
    least: 1,
    many: true,
    about: ["What it may do and see", "The program and its arguments"],
  },
  options: {},
  examples: [["migrate confined '{…}' -- /usr/bin/qemu-system-x86_64 -S", "started by migrate serve itself"]],
  side: "destination",
  async run({ positionals, world }) {
    const [plan = "", ...argv] = positionals;
    try {
      if (argv.length > 0) return becomeConfined(parsePlan(plan), argv);
      world.stdout.write(`${JSON.stringify(confine(parsePlan(plan), "/usr"))}\n`);
      return undefined;
    } catch (cause) {
      const said = cause instanceof Error ? cause.message : String(cause);
      throw new MigrateError("qemu-failed", `what runs the VM cannot be confined (${said})`, { cause });
    }
  },
});
