/** `migrate profile-side`: a measuring process of `migrate profile` or of `migrate serve`, for nobody else. */
import { readLines } from "../profiler/engine/lines.ts";
import { playRole } from "../profiler/engine/side-role.ts";
import { defineCommand } from "./cli/define-command.ts";
import { ProductEngine } from "./profile/product-engine.ts";

export default defineCommand({
  name: "migrate profile-side",
  summary: "be one side of a profile, told what to do on standard input",
  hidden: true,
  options: {},
  examples: [["migrate profile-side", "migrate profile and migrate serve start it themselves"]],
  async run({ world, reporter }) {
    // A person's Ctrl-C goes to all processes of the terminal; who started this one ends it in good order.
    world.interrupts(reporter);
    await playRole(readLines(Bun.stdin.stream()), (line) => world.stdout.write(line), new ProductEngine());
    return undefined;
  },
});
