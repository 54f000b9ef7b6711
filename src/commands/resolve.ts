/** `migrate resolve`: settles who owns a VM whose session was cut at the wrong moment. */
import { resolveSession } from "../migration/operator/resolve.ts";
import { isSshAddress } from "../ssh/ssh-address.ts";
import { usageErrors } from "./cli/arguments.ts";
import { homeOf, passphraseBefore, passphraseOptions, warnInsecure } from "./cli/context.ts";
import { defineCommand } from "./cli/define-command.ts";
import { duration, oneOf, optional, toggle, withDefault } from "./cli/option.ts";
import { sessionColumns } from "./cli/session-table.ts";
import { calledHost, type OpenHost, openHost } from "./cli/ssh-host.ts";
import { readReceipts } from "./upkeep/read-receipts.ts";

const name = "migrate resolve";

export default defineCommand({
  name,
  summary: "settle a session whose owner is in doubt",
  about:
    "Goes by the other side's receipt where there is one, else asks it, which settles every doubt that two reachable hosts can have. If the other host is gone for good, --owner takes a person's word instead: make sure first that the VM does not run, and never will, on the host that is not named.",
  positionals: {
    names: ["SESSION"],
    least: 1,
    about: ["Session as migrate status shows it, or the beginning of it"],
  },
  options: {
    owner: optional(
      "SIDE",
      "Do not ask; source or destination owns the VM, on your word",
      oneOf(["source", "destination"]),
    ),
    code: optional(
      "CODE",
      "With --owner destination, on the destination: the code that migrate status shows on the source once it has released the VM",
    ),
    withoutCode: toggle(
      "The source is gone for good and cannot show a code: if the VM runs there, or is started there again, it runs twice",
    ),
    receipt: optional(
      "FILE",
      "Do not ask; the other host's receipts, as migrate receipt show writes them there: on the destination its RELEASE, on the source its OWNED",
    ),
    cancel: toggle("Give the session up, if the other side cannot own the VM"),
    retryFor: withDefault(
      "TIME",
      "How long a lost link is tried again",
      "10m",
      duration(0, 7 * 24 * 3_600_000),
    ),
    insecure: toggle("The session was an insecure one"),
    ...passphraseOptions,
  },
  examples: [
    [`${name} 7c9e`, "ask the other side"],
    [
      `${name} 7c9e --owner destination --code 41c6-...`,
      "on the destination: the source has released the VM, and the two cannot speak",
    ],
    [`${name} 7c9e --receipt web1.receipts`, "the two cannot speak, and a file came from the other one"],
    [`${name} 7c9e --owner source`, "the destination is gone for good: the VM is this side's again"],
  ],
  async run({ options, positionals, world, reporter }) {
    if (options.owner !== undefined && options.cancel)
      throw usageErrors(name)("--owner and --cancel exclude each other");
    const { code, withoutCode, receipt } = options;
    if (receipt !== undefined && (options.owner !== undefined || options.cancel))
      throw usageErrors(name)("--receipt excludes --owner and --cancel: the receipt says who owns the VM");
    if ((code !== undefined || withoutCode) && options.owner !== "destination")
      throw usageErrors(name)("--code and --without-code go with --owner destination");
    if (code !== undefined && withoutCode)
      throw usageErrors(name)("--code and --without-code exclude each other");
    const proof = code === undefined ? (withoutCode ? "without-code" : undefined) : { code };
    const home = homeOf(world);
    warnInsecure(reporter, options.insecure);
    const decision = options.cancel ? "cancel" : options.owner;
    const passphrase = await passphraseBefore(world, home, options.passphraseFile);
    const opened: OpenHost[] = [];
    const wayTo = (address: string) => {
      if (!isSshAddress(address)) return undefined;
      const host = openHost(
        calledHost(address),
        { home, passphrase, onlyIfThere: true },
        { world, reporter },
      );
      opened.push(host);
      return host.way;
    };
    const row = await resolveSession(
      {
        home,
        session: positionals[0] ?? "",
        ...(decision === undefined ? {} : { decision }),
        proof,
        receipts: receipt === undefined ? undefined : readReceipts(receipt),
        insecure: options.insecure,
        passphrase,
        env: world.env,
        retryForMs: options.retryFor,
        signal: world.interrupts(reporter),
        wayTo,
      },
      reporter.observer,
    ).finally(() => Promise.all(opened.map((host) => host.close())));
    reporter.table("resolved", sessionColumns(Date.now(), true, [row]), [row], "");
    return undefined;
  },
});
