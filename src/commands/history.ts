/** `migrate history`: the sessions that have ended, here or on another host. */
import { history, remoteHistory } from "../migration/operator/status.ts";
import { readValue, usageErrors } from "./cli/arguments.ts";
import { homeOf, passphraseFrom, passphraseOptions, warnInsecure } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { address, defaultPort, toggle } from "./cli/option.ts";
import { sessionColumns } from "./cli/session-table.ts";

const name = "migrate history";

export default defineCommand({
  name,
  summary: "show the sessions that have ended",
  about:
    "Without an address those of this host; with one, those that the other host has had with this one, as it has them.",
  positionals: { names: ["HOST:PORT"], least: 0, about: ["Another host, where migrate serve runs"] },
  options: {
    insecure: toggle("The other host serves with --insecure"),
    ...passphraseOptions,
  },
  examples: [
    [`${name} --json`, "all of this host, one JSON object a line"],
    [`${name} 192.0.2.7:7600`, "what that one says of them"],
  ],
  async run({ options, positionals, world, reporter }) {
    const [where] = positionals;
    const refuse = usageErrors(name);
    const to =
      where === undefined ? undefined : readValue("HOST:PORT", () => address(1, defaultPort)(where), refuse);
    if (to === undefined && options.insecure) throw refuse("--insecure needs a HOST:PORT");
    const home = homeOf(world);
    const columns = sessionColumns(Date.now(), true);
    if (to === undefined) {
      reporter.table("history", columns, history(home), "No session has ended here yet.");
      return undefined;
    }
    warnInsecure(reporter, options.insecure);
    const passphrase = passphraseFrom(world, options.passphraseFile);
    const rows = await remoteHistory({ home, address: to, insecure: options.insecure, passphrase });
    const there = rows.map((row) => ({ where, ...row }));
    reporter.table("history", columns, there, "No session with this host has ended there.");
    return undefined;
  },
});
