/**
 * A host's own key as it lies in identity.pem where it was made in the TPM: what the TPM gave out of it, which is of use to
 * that TPM alone.
 *
 *     -----BEGIN MIGRATE TPM KEY-----
 *     Version: 1
 *     Registers: <none, or the bank and each register's value: sha256 7=<hex> 14=<hex>>
 *     Public: <base64 of TPMT_PUBLIC>
 *     Private: <base64 of what stands in TPM2B_PRIVATE>
 *     Creation: <base64 of the hash of its creation data>
 *     Ticket: <base64 of TPMT_TK_CREATION, by which the TPM knows that it made the key>
 *     -----END MIGRATE TPM KEY-----
 *
 * There is one way to write a given key: the lines in this order, LF line ends, canonical base64. Anything else is
 * refused. Pure.
 */
import { MigrateError } from "../../protocol/errors.ts";
import { registerCount } from "../structures/pcr-selection.ts";
import { type Bank, banks, type PcrSelection } from "../structures/platform-state.ts";

export interface HostKeyText {
  /** The values while which the TPM gives the key out, by number, in lower-case hex; null where it always does. */
  registers: { selection: PcrSelection; values: ReadonlyMap<number, string> } | null;
  publicBytes: Buffer;
  privateBytes: Buffer;
  creationHash: Buffer;
  ticket: Buffer;
}

const begin = "-----BEGIN MIGRATE TPM KEY-----";
const end = "-----END MIGRATE TPM KEY-----";
const base64 = "([A-Za-z0-9+/=]{1,1400})";
const pattern = new RegExp(
  `^${begin}\nVersion: 1\nRegisters: ([a-z0-9= ]{1,3000})\nPublic: ${base64}\nPrivate: ${base64}\n` +
    `Creation: ${base64}\nTicket: ${base64}\n${end}\n$`,
);

export function formatHostKey(key: HostKeyText): string {
  const text = (bytes: Buffer) => bytes.toString("base64");
  const { registers } = key;
  const bound =
    registers === null
      ? "none"
      : [
          registers.selection.bank,
          ...[...registers.values].map(([number, value]) => `${number}=${value}`),
        ].join(" ");
  return (
    `${begin}\nVersion: 1\nRegisters: ${bound}\nPublic: ${text(key.publicBytes)}\nPrivate: ${text(key.privateBytes)}\n` +
    `Creation: ${text(key.creationHash)}\nTicket: ${text(key.ticket)}\n${end}\n`
  );
}

/** Throws MigrateError "home-unusable" for a text that is not just so. */
export function parseHostKey(text: string): HostKeyText {
  const [, bound, ...parts] = pattern.exec(text) ?? [];
  const [publicBytes, privateBytes, creationHash, ticket] = parts.map((part) => Buffer.from(part, "base64"));
  if (bound === undefined || !publicBytes || !privateBytes || !creationHash || !ticket) throw damaged();
  const key = { registers: parseRegisters(bound), publicBytes, privateBytes, creationHash, ticket };
  if (formatHostKey(key) !== text) throw damaged();
  return key;
}

function parseRegisters(text: string): HostKeyText["registers"] {
  if (text === "none") return null;
  const [bank, ...pairs] = text.split(" ");
  const isBank = (name: string | undefined): name is Bank => banks.some((known) => known === name);
  if (!isBank(bank) || pairs.length === 0 || pairs.length > registerCount) throw damaged();
  const values = new Map<number, string>();
  for (const pair of pairs) {
    const [, number = "", value = ""] = /^(0|[1-9]\d?)=([0-9a-f]{64}|[0-9a-f]{96})$/.exec(pair) ?? [];
    if (value === "" || Number(number) >= registerCount) throw damaged();
    values.set(Number(number), value);
  }
  const registers = [...values.keys()];
  if (registers.some((register, at) => at > 0 && register <= (registers[at - 1] ?? 0))) throw damaged();
  return { selection: { bank, registers }, values };
}

function damaged(): MigrateError {
  return new MigrateError(
    "home-unusable",
    "The key of this host's identity, which its TPM made, is damaged.",
    {
      hint: "Restore identity.pem from a backup, or make a new identity with migrate id --tpm and pair again.",
    },
  );
}
