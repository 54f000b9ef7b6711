/** `migrate ticket`: a ticket of a `migrate serve` that runs on this host. */
import { ticketTtl } from "../migration/destination/serving/control-words.ts";
import { askTicket } from "../migration/operator/ask-serve.ts";
import { formatDuration } from "../terminal/format.ts";
import { sendLineText } from "../terminal/sentences.ts";
import { homeOf } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { duration, optional, withDefault } from "./cli/option.ts";

export default defineCommand({
  name: "migrate ticket",
  summary: "make a ticket for a migrate serve that runs on this host",
  about:
    "Asks the serve, over a socket in MIGRATE_HOME, for a ticket as it prints at its start, and prints the migrate send line for it. A ticket pairs one source with this host, once. It is for the user whose serve it is, or who has the same MIGRATE_HOME and its rights.",
  options: {
    store: optional("DIR", "The store of the serve that is meant, where several run"),
    ttl: withDefault(
      "TIME",
      "How long the ticket can be used",
      "15m",
      duration(ticketTtl.leastMs, ticketTtl.mostMs),
    ),
  },
  examples: [
    ["migrate ticket", "let one more host send VMs here"],
    ["migrate ticket --store /srv/vms --ttl 1h", "of the serve that has this store, for an hour"],
  ],
  side: "destination",
  async run({ options, world, reporter }) {
    const { store, ttl: ttlMs } = options;
    const issued = await askTicket(homeOf(world), { store, ttlMs });
    const heading = `The migrate serve of the store ${issued.store} takes this ticket for ${formatDuration(ttlMs)}, once.`;
    reporter.result({ event: "ticket", ...issued }, `${heading}\n${sendLineText(issued)}`);
    return undefined;
  },
});
