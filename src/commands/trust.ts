/** `migrate trust`: which hosts this host sends to and receives from. The same as editing HOME/trust by hand. */
import { type Peer, type PeerRole, TrustFile } from "../channel/trust.ts";
import { MigrateError } from "../protocol/errors.ts";
import type { Column } from "../terminal/table.ts";
import { homeOf } from "./cli/context.ts";
import { type CommandGroup, defineCommand } from "./cli/define-command.ts";
import { oneOf, optional, withDefault } from "./cli/option.ts";
import { suggest } from "./cli/suggest.ts";

const columns: readonly Column<Peer>[] = [
  { title: "NAME", cell: (peer) => peer.name },
  { title: "ROLES", cell: (peer) => peer.roles.join(",") },
  { title: "FINGERPRINT", cell: (peer) => peer.fingerprint },
  { title: "COMMENT", cell: (peer) => peer.comment ?? "" },
];

const list = defineCommand({
  name: "migrate trust list",
  summary: "list the hosts that this host trusts",
  options: {},
  examples: [["migrate trust list", "names, roles and fingerprints"]],
  async run({ world, reporter }) {
    const peers = TrustFile.load(homeOf(world)).peers();
    reporter.table(
      "peer",
      columns,
      peers,
      "This host trusts nobody yet. A ticket of migrate serve pairs two hosts.",
    );
    return undefined;
  },
});

const add = defineCommand({
  name: "migrate trust add",
  summary: "trust a host by its fingerprint",
  about:
    "A source may send VMs to this host; a destination may receive VMs from it. For a destination NAME is the HOST:PORT that migrate send is given.",
  positionals: {
    names: ["FINGERPRINT", "NAME"],
    least: 2,
    about: ["sha256: and 64 hex digits, as the other host's migrate id prints it", "HOST:PORT or a label"],
  },
  options: {
    role: withDefault(
      "ROLE",
      "source, destination or both",
      "both",
      oneOf(["source", "destination", "both"]),
    ),
    comment: optional("TEXT", "A remark for the file"),
  },
  examples: [
    [
      `migrate trust add sha256:${"9f".repeat(32)} 192.0.2.7:7600 --role destination`,
      "let VMs go to this host without a ticket",
    ],
  ],
  async run({ options, positionals, world, reporter }) {
    const [fingerprint = "", name = ""] = positionals;
    const roles: PeerRole[] = options.role === "both" ? ["source", "destination"] : [options.role];
    const file = TrustFile.load(homeOf(world));
    for (const role of roles)
      for (const peer of await file.add(fingerprint, role, name, options.comment))
        reporter.warn(
          `${name} led to ${peer.fingerprint} before; that host is no destination of that name any more`,
        );
    for (const peer of file.peers().filter((known) => known.name === name))
      reporter.result({ event: "added", ...peer }, `${peer.name} is trusted as ${peer.roles.join(" and ")}`);
    return undefined;
  },
});

const remove = defineCommand({
  name: "migrate trust remove",
  summary: "trust a host no more",
  about: "Sessions of that host that are under way run to their end; it cannot begin a new one.",
  positionals: {
    names: ["FINGERPRINT|NAME"],
    least: 1,
    about: ["All lines with this fingerprint, or this name"],
  },
  options: {},
  examples: [["migrate trust remove 192.0.2.7:7600", "from now on this host needs a ticket again"]],
  async run({ positionals, world, reporter }) {
    const [wanted = ""] = positionals;
    const file = TrustFile.load(homeOf(world));
    const removed = await file.remove(wanted);
    if (removed.length === 0) {
      const near = suggest(
        wanted,
        file.peers().map((peer) => peer.name),
      );
      throw new MigrateError("not-trusted", `Nobody of that name or fingerprint is trusted`, {
        hint: near === undefined ? "See migrate trust list." : `Did you mean ${near}?`,
      });
    }
    for (const peer of removed)
      reporter.result({ event: "removed", ...peer }, `${peer.name} (${peer.fingerprint}) is trusted no more`);
    return undefined;
  },
});

const group: CommandGroup = {
  name: "migrate trust",
  summary: "list, add and remove the hosts that this host trusts",
  commands: { list: async () => list, add: async () => add, remove: async () => remove },
};

export default group;
