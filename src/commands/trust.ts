/** `migrate trust`: which hosts this host sends to and receives from. The same as editing HOME/trust by hand. */
import { type Peer, type PeerRole, TrustFile } from "../channel/trust.ts";
import { isExpired, parseTerms, type TrustTerms, termsText } from "../channel/trusted/trust-terms.ts";
import { MigrateError } from "../protocol/errors.ts";
import type { Column } from "../terminal/table.ts";
import { homeOf } from "./cli/context.ts";
import { type CommandGroup, defineCommand } from "./cli/define-command.ts";
import { oneOf, optional, withDefault } from "./cli/option.ts";
import { suggest } from "./cli/suggest.ts";

/** What stands there of how long and how much, and whether it is over. */
function termsOf(peer: Peer): string {
  const over = isExpired(peer, Date.now()) ? "expired," : "";
  return `${over}${termsText(peer).trim().replaceAll(" ", ",")}`;
}

const columns: readonly Column<Peer>[] = [
  { title: "NAME", cell: (peer) => peer.name },
  { title: "ROLES", cell: (peer) => peer.roles.join(",") },
  { title: "TERMS", cell: termsOf },
  { title: "FINGERPRINT", cell: (peer) => peer.fingerprint },
  { title: "COMMENT", cell: (peer) => peer.comment ?? "" },
];

/** Until when, as the end of a sentence. */
function untilText(peer: Peer): string {
  if (peer.expires === undefined) return "";
  return isExpired(peer, Date.now()) ? `, until ${peer.expires}, which is over` : `, until ${peer.expires}`;
}

/** On which condition, as the end of a sentence. */
function proofText({ attest }: Peer): string {
  return attest === undefined ? "" : ", if it proves what it runs";
}

/** A term as the trust file has it. Throws MigrateError "usage"; its message ends a sentence that begins with the flag. */
function term(key: string): (text: string) => TrustTerms {
  return (text) => {
    const terms = /\s/.test(text) ? `${key} has no blanks` : parseTerms([`${key}=${text}`]);
    if (typeof terms !== "string") return terms;
    throw new MigrateError("usage", `${terms.slice(key.length + 1)}, not "${text}"`);
  };
}

const list = defineCommand({
  name: "migrate trust list",
  summary: "list the hosts that this host trusts",
  options: {},
  examples: [["migrate trust list", "names, roles and fingerprints"]],
  async run({ world, reporter }) {
    const peers = TrustFile.load(homeOf(world)).peers();
    reporter.table(
      "peer",
      peers.some((peer) => termsOf(peer) !== "") ? columns : columns.filter(({ title }) => title !== "TERMS"),
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
    "A source may send VMs to this host; a destination may receive VMs from it. For a destination NAME is the HOST:PORT that migrate send is given. Given again for a host that is trusted, it changes what it says; an end that is over is taken away. Where several lines are about one host, the first end holds, and the least of each number.",
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
    expires: optional(
      "TIME",
      "Trust it until the end of this day (2027-01-31, in UTC), or until this time (RFC 3339)",
      term("expires"),
    ),
    maxBytes: optional(
      "SIZE",
      "Of a source: bytes of one VM at most, RAM included (K, M, G, T)",
      term("max-bytes"),
    ),
    maxVms: optional("N", "Of a source: so many of its VMs may lie in a store here at most", term("max-vms")),
    maxSessions: optional("N", "Of a source: so many sessions at a time at most", term("max-sessions")),
    attest: optional(
      "WORD",
      "required: no VM goes to it, or comes from it, unless its TPM proves what it runs, as with send --attest and serve --require-attestation",
      term("attest"),
    ),
  },
  examples: [
    [
      `migrate trust add sha256:${"9f".repeat(32)} 192.0.2.7:7600 --role destination`,
      "let VMs go to this host without a ticket",
    ],
    [
      `migrate trust add sha256:${"f0".repeat(32)} hosta --role source --expires 2027-01-31 --max-vms 5`,
      "let VMs come from this host, until then, five at most",
    ],
    [
      `migrate trust add sha256:${"9f".repeat(32)} 192.0.2.7:7600 --role destination --attest required`,
      "from now on no VM goes there unless it proves what it runs",
    ],
  ],
  async run({ options, positionals, world, reporter }) {
    const [fingerprint = "", name = ""] = positionals;
    const roles: PeerRole[] = options.role === "both" ? ["source", "destination"] : [options.role];
    const { expires, maxBytes, maxVms, maxSessions, attest } = options;
    const limits = { ...maxBytes, ...maxVms, ...maxSessions };
    if (!roles.includes("source") && Object.keys(limits).length > 0)
      throw new MigrateError("usage", "--max-bytes, --max-vms and --max-sessions are about a source", {
        hint: "Leave them out, or --role destination.",
      });
    const file = TrustFile.load(homeOf(world));
    for (const role of roles)
      for (const peer of await file.add(fingerprint, role, name, options.comment, {
        ...{ ...expires, ...attest },
        ...(role === "source" ? limits : {}),
      }))
        reporter.warn(
          `${name} led to ${peer.fingerprint} before; that host is no destination of that name any more`,
        );
    for (const peer of file.peers().filter((known) => known.name === name))
      reporter.result(
        { event: "added", ...peer },
        `${peer.name} is trusted as ${peer.roles.join(" and ")}${untilText(peer)}${proofText(peer)}`,
      );
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
