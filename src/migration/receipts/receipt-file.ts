/**
 * The receipts of a session as a text that a person can read and carry to another host: a line that says what it is,
 * remarks for people behind `#`, and one line of JSON a receipt. Whoever wrote it, each is believed by its signature
 * alone. Pure.
 */
import * as v from "valibot";
import { MigrateError } from "../../protocol/errors.ts";
import { digest, fieldPath, hex } from "../../protocol/fields.ts";
import { printable } from "../../protocol/printable.ts";
import { receiptEntries, receiptKinds, receiptSides } from "../../protocol/receipt.ts";
import type { StoredReceipt } from "../journal/receipt-table.ts";

const firstLine = "migrate receipts v1";
/** No such text is longer, in bytes. */
export const receiptFileBytes = 64 * 1024;
/** Receipts in one. */
const mostReceipts = 16;

const schema = v.strictObject({
  kind: v.picklist(receiptKinds),
  session: hex(32),
  mode: v.picklist(["move", "copy"]),
  digest,
  signer: digest,
  other: digest,
  ...receiptEntries,
});

/** The text of some receipts, which end with a line end. `name` is the VM's. */
export function receiptText(name: string, receipts: readonly StoredReceipt[]): string {
  const lines = receipts.flatMap((receipt) => [`# ${receiptSentence(receipt)}`, JSON.stringify(receipt)]);
  return [
    firstLine,
    `# of ${printable(name, " ")}; migrate receipt check says whether they hold`,
    ...lines,
    "",
  ].join("\n");
}

/** What a receipt says, to a person. */
export function receiptSentence({ kind, session, signer, other, generation }: StoredReceipt): string {
  const to = receiptSides[kind] === "source" ? "destination" : "source";
  return `${kind.toUpperCase()} of session ${session.slice(0, 12)}, by the ${receiptSides[kind]} ${signer} to the ${to} ${other}, its generation ${generation}`;
}

/** The receipts in a text, none of them checked. Throws MigrateError "file-unusable" with the line that is wrong. */
export function parseReceipts(text: string): StoredReceipt[] {
  const [first, ...lines] = text.split("\n");
  if (Buffer.byteLength(text) > receiptFileBytes || first !== firstLine)
    throw unusable("it is no file of receipts");
  const receipts = lines.flatMap((line, i) => {
    if (line === "" || line.startsWith("#")) return [];
    const { success, output, issues } = v.safeParse(schema, jsonOf(line, i + 2));
    if (success) return [output];
    throw unusable(
      `line ${i + 2} is no receipt: ${printable(fieldPath(issues[0].path) || "it", " ").slice(0, 80)} is wrong`,
    );
  });
  if (receipts.length > mostReceipts) throw unusable(`it has more than ${mostReceipts} receipts`);
  if (receipts.length === 0) throw unusable("there is no receipt in it");
  return receipts;
}

function jsonOf(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw unusable(`line ${number} is no receipt`);
  }
}

function unusable(why: string): MigrateError {
  return new MigrateError("file-unusable", `these receipts cannot be used: ${why}`, {
    hint: "write them anew with migrate receipt show SESSION on the host that has them",
  });
}
