/** `migrate tune`: changes a move that is under way. */
import { tuneMove } from "../../migration/operator/tune.ts";
import { mostDowntimeLimitMs, type Tuning } from "../../migration/report/tuning.ts";
import { tuningFacts } from "../../terminal/sentences.ts";
import { usageErrors } from "../cli/arguments.ts";
import { homeOf } from "../cli/context.ts";
import { defineCommand } from "../cli/define-command.ts";
import { duration, oneOf, optional, size } from "../cli/option.ts";

const name = "migrate tune";

export default defineCommand({
  name,
  summary: "change a move while it is under way",
  about:
    "On the source, where migrate send runs, and as its user: what is given holds from now on, for all connections of the move together. A VM that does not run while it is sent has a bandwidth alone. Auto-converge can be switched off, and on again, where the move was begun with it; of a domain of libvirt it cannot be changed. Once the VM stands still for its last part nothing but the bandwidth can be. Refused as a whole if any of it cannot be changed.",
  positionals: {
    names: ["SESSION"],
    least: 1,
    about: ["Session as migrate status shows it, the beginning of it, or the VM's name"],
  },
  options: {
    bandwidth: optional(
      "RATE|off",
      "At most so many bytes a second; K, M, G, T are powers of 1024: 200M; off for as many as the link carries",
      (text) => (text === "off" ? ("off" as const) : size(text)),
    ),
    downtimeLimit: optional(
      "TIME",
      "How long the VM may stand still at the end of its move",
      duration(1, mostDowntimeLimitMs),
    ),
    autoConverge: optional(
      "on|off",
      "Slow the VM down if it writes memory faster than the link carries it",
      oneOf(["on", "off"]),
    ),
  },
  examples: [
    [`${name} web1 --bandwidth 200M`, "leave the others of the link more room"],
    [
      `${name} 7c9e --downtime-limit 1s --auto-converge off`,
      "rather stand still for longer than be slowed down",
    ],
  ],
  side: "source",
  async run({ options, positionals, world, reporter }) {
    const { bandwidth, downtimeLimit, autoConverge } = options;
    const tuning: Tuning = {
      ...(bandwidth === undefined ? {} : { bandwidthBytesPerSec: bandwidth === "off" ? null : bandwidth }),
      ...(downtimeLimit === undefined ? {} : { downtimeLimitMs: downtimeLimit }),
      ...(autoConverge === undefined ? {} : { autoConverge: autoConverge === "on" }),
    };
    if (Object.keys(tuning).length === 0) {
      throw usageErrors(name)(
        "There is nothing to change",
        "Give --bandwidth, --downtime-limit or --auto-converge.",
      );
    }
    const { session, name: vm, tuning: now } = await tuneMove(homeOf(world), positionals[0] ?? "", tuning);
    reporter.result(
      { event: "tuned", session, name: vm, ...now },
      `${vm}, from now on: ${tuningFacts(now).join(", ")}`,
    );
    return undefined;
  },
});
