/** `migrate receipt`: what the hosts of a move have signed of its handover, and a host that was restored from a backup. */
import {
  type CheckedReceipt,
  checkReceipts,
  forgetPeer,
  receiptsOf,
  settleRestored,
} from "../../migration/operator/receipts.ts";
import { receiptText } from "../../migration/receipts/receipt-file.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { receiptSides } from "../../protocol/receipt.ts";
import type { Column } from "../../terminal/table.ts";
import { homeOf } from "../cli/context.ts";
import { type CommandGroup, defineCommand } from "../cli/define-command.ts";
import { toggle } from "../cli/option.ts";
import { readReceipts } from "./read-receipts.ts";

const columns: readonly Column<CheckedReceipt>[] = [
  { title: "WORD", cell: ({ receipt }) => receipt.kind.toUpperCase() },
  { title: "CHECK", cell: ({ fault }) => (fault === undefined ? "ok" : "wrong") },
  { title: "SESSION", cell: ({ receipt }) => receipt.session },
  { title: "BY", cell: ({ receipt }) => receiptSides[receipt.kind] },
  { title: "GENERATION", cell: ({ receipt }) => String(receipt.generation), align: "right" },
  { title: "SIGNER", cell: ({ receipt }) => receipt.signer },
];

const show = defineCommand({
  name: "migrate receipt show",
  summary: "print the receipts of a session",
  about:
    "Those that this host has given and those that it was given, as a text that can be carried to the other host: there migrate resolve --receipt takes it. It holds no secret.",
  positionals: { names: ["SESSION"], least: 1, about: ["Session as migrate status and history show it"] },
  options: {},
  examples: [["migrate receipt show 7c9e", "its output is for a file"]],
  async run({ positionals, world, reporter }) {
    const { name, receipts } = receiptsOf(homeOf(world), positionals[0] ?? "");
    const text = receiptText(name, receipts);
    reporter.result({ event: "receipts", name, receipts }, text.trimEnd());
    return undefined;
  },
});

const check = defineCommand({
  name: "migrate receipt check",
  summary: "check the receipts in a file",
  about:
    "Says of each whether the host that it names has signed it; needs neither of the two hosts. Whether those hosts are the ones that you mean, their fingerprints tell.",
  positionals: { names: ["FILE"], least: 1, about: ["A file that migrate receipt show has written"] },
  options: {},
  examples: [["migrate receipt check web1.receipts", "does each hold, and who signed it"]],
  async run({ positionals, reporter }) {
    const checked = checkReceipts(readReceipts(positionals[0] ?? ""));
    const rows = checked.map(({ receipt, fault }) => ({
      receipt,
      ...(fault === undefined ? {} : { fault }),
    }));
    reporter.table("receipt", columns, rows, "");
    const wrong = checked.flatMap(({ fault }) => fault ?? []);
    if (wrong.length === 0) return undefined;
    throw new MigrateError("integrity", wrong[0]!, { hint: "Take the file from its host again." });
  },
});

const forget = defineCommand({
  name: "migrate receipt forget",
  summary: "forget how far another host was",
  about:
    "For a host that was set up anew with the identity that it had, or that does not sign any more: what this host has seen of it does not count from then on. Receipts of sessions stay.",
  positionals: { names: ["FINGERPRINT"], least: 1, about: ["sha256: and 64 hex digits"] },
  options: {},
  examples: [[`migrate receipt forget sha256:${"9f".repeat(32)}`, "it begins anew"]],
  async run({ positionals, world, reporter }) {
    const peer = forgetPeer(homeOf(world), positionals[0] ?? "");
    reporter.result({ event: "forgotten", peer }, `How far ${peer} was is forgotten`);
    return undefined;
  },
});

const restored = defineCommand({
  name: "migrate receipt restored",
  summary: "go on with a journal that was restored from a backup",
  about:
    "A host whose journal is older than what was seen of it, or whose TPM has lost its count, moves nothing, since a VM that it believes to have may be another host's by now. Look first where each VM runs that is named; then this takes moves up again.",
  options: { yes: toggle("It was looked at: where each VM runs is known") },
  examples: [["migrate receipt restored --yes", "after a look at every VM that this host has"]],
  async run({ options, world, reporter }) {
    if (!options.yes)
      throw new MigrateError("usage", "It is not said that somebody has looked", {
        hint: "See where each VM of this host runs, on the hosts that it was moved to and from as well; then give --yes.",
      });
    const generation = await settleRestored(homeOf(world), world.env, reporter.observer);
    reporter.result({ event: "restored", generation }, `This host goes on from generation ${generation}`);
    return undefined;
  },
});

const group: CommandGroup = {
  name: "migrate receipt",
  summary: "what the hosts of a move have signed, and a host that was restored",
  commands: {
    show: async () => show,
    check: async () => check,
    forget: async () => forget,
    restored: async () => restored,
  },
};

export default group;
