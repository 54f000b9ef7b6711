/**
 * The firmware's event log: TCG PC Client Platform Firmware Profile 1.05, section 10, in the crypto-agile form that TPM
 * 2.0 has. It is what the other host says; only what its replay gives, held against quoted registers, is proven. Pure.
 */
import { createHash } from "node:crypto";
import { type Bank, banks } from "../structures/platform-state.ts";
import { algorithmOf, digestAlgorithms } from "./digest-algorithms.ts";
import { dataOfDigest, mustBeOfItsData } from "./event-data.ts";
import { eventTypes, type MeasuredEvent } from "./event-types.ts";
import { logLimits } from "./log-limits.ts";
import { LogReader } from "./log-reader.ts";
import { eventWords } from "./words.ts";

export interface EventLog {
  /** In the order of the log, the head left out. */
  events: readonly MeasuredEvent[];
  /** Names of the algorithms that the head says each event has a digest of; those that are not known here left out. */
  algorithms: readonly string[];
}

const logName = "the firmware's log";
const registers = 24;
/** A digest of any algorithm that there is. */
const digestMaxBytes = 64;
const signatureBytes = 16;

/**
 * Reads a log as the kernel's binary_bios_measurements gives it.
 * `bytes` are at most logLimits.eventLogBytes; the events' data are views of them.
 * @throws MigrateError "attestation": the log is too long, is cut, has the form of TPM 1.2, or is none. The sentence says
 *   what is wrong and at which event (counted from 1, the head being the first).
 */
export function parseEventLog(bytes: Buffer): EventLog {
  const reader = new LogReader(bytes, logName);
  if (bytes.length > logLimits.eventLogBytes)
    throw reader.fault(`is ${bytes.length} bytes long, more than ${logLimits.eventLogBytes}`);
  const sizes = readHead(reader);
  const algorithms = [...sizes.keys()].flatMap((id) => algorithmOf(id) ?? []);
  const events: MeasuredEvent[] = [];
  let localityAllowed = true;
  while (reader.left > 0) {
    if (events.length >= logLimits.events) throw reader.fault(`has more than ${logLimits.events} events`);
    const event = readEvent(reader, sizes, events.length);
    if (localityOf(event) !== null) {
      // A second one, or one after register 0 was measured into, would set the register back in the replay.
      if (!localityAllowed)
        throw reader.fault(`sets register 0 a second time, at event ${events.length + 2}`);
      localityAllowed = false;
    }
    if (event.extended && event.register === 0) localityAllowed = false;
    events.push(event);
  }
  return { events, algorithms };
}

/**
 * What the registers of a bank hold if exactly this log was measured: all 24, by number, in lower-case hex.
 *
 * Registers 17 to 22 are all ones until a dynamic launch sets them to zero, so that is what they are replayed from; and
 * register 0 begins with the locality that the log claims, which a quote of another beginning does not match.
 * @throws MigrateError "attestation" if an event has no digest of this bank.
 */
export function replayEvents({ events }: EventLog, bank: Bank): Map<number, string> {
  const { bytes } = digestAlgorithms[bank];
  const values = new Map<number, Buffer>();
  for (const event of events) {
    const locality = localityOf(event);
    if (locality !== null) values.set(0, startedFrom(bytes, locality));
    if (!event.extended) continue;
    // The hardware's own start leaves 4 in register 0, its locality (10.4.1, EV_EFI_HCRTM_EVENT).
    const first = event.type === eventTypes.EV_EFI_HCRTM_EVENT && event.register === 0 ? 4 : 0;
    const before = values.get(event.register) ?? startedFrom(bytes, first);
    values.set(event.register, extend(bank, before, Buffer.from(digestOf(event, bank), "hex")));
  }
  return new Map(
    Array.from({ length: registers }, (_, register) => [
      register,
      values.get(register)?.toString("hex") ?? initialValue(bank, register),
    ]),
  );
}

function startedFrom(bytes: number, locality: number): Buffer {
  const value = Buffer.alloc(bytes);
  value[bytes - 1] = locality;
  return value;
}

/** A register that nothing was measured into, in hex (PC Client Platform TPM Profile 1.05, 4.6.2, table 3). */
export function initialValue(bank: Bank, register: number): string {
  return (register >= 17 && register <= 22 ? "ff" : "00").repeat(digestAlgorithms[bank].bytes);
}

/** TPM2_PCR_Extend: the register's new value (Part 1, 17.3). */
export function extend(bank: Bank, value: Buffer, digest: Buffer): Buffer {
  return createHash(bank).update(value).update(digest).digest();
}

/** An event's digest of this bank. @throws MigrateError "attestation" if the log has none. */
export function digestOf(event: MeasuredEvent, bank: Bank): string {
  const digest = event.digests[bank];
  if (digest !== undefined) return digest;
  const has = banks.filter((other) => event.digests[other] !== undefined);
  throw new LogReader(event.data, logName).fault(
    `has no ${bank} digest at event ${event.index + 2}${has.length > 0 ? `, but one of ${has.join(" and ")}` : ""}`,
  );
}

/** The head, TCG_PCR_EVENT with a TCG_EfiSpecIDEvent (10.4.5.1): the size of each algorithm's digests, by its id. */
function readHead(reader: LogReader): Map<number, number> {
  if (reader.left === 0) throw reader.fault("is empty");
  const register = reader.u32();
  const type = reader.u32();
  reader.skip(digestAlgorithms.sha1.bytes);
  const data = reader.bytes(reader.u32());
  const head = new LogReader(data, logName);
  const signature = data.subarray(0, signatureBytes).toString("latin1");
  if (register !== 0 || type !== eventTypes.EV_NO_ACTION || signature !== "Spec ID Event03\0")
    throw reader.fault(
      "has not the head of one of TPM 2.0; in the form of TPM 1.2, with SHA-1 alone, it would prove nothing",
    );
  // Signature, platformClass, three parts of the version, uintnSize.
  head.skip(signatureBytes + 4 + 3 + 1);
  const count = head.u32();
  if (count === 0 || count > logLimits.algorithms)
    throw reader.fault(`names ${count} hash algorithms in its head, more than there are`);
  const sizes = new Map<number, number>();
  for (let index = 0; index < count; index++) {
    const id = head.u16();
    const bytes = head.u16();
    const known = algorithmOf(id);
    if (sizes.has(id)) throw reader.fault("names a hash algorithm twice in its head");
    if (bytes === 0 || bytes > digestMaxBytes || (known && digestAlgorithms[known].bytes !== bytes))
      throw reader.fault(`gives digests of ${bytes} bytes to hash algorithm 0x${id.toString(16)}`);
    sizes.set(id, bytes);
  }
  head.skip(head.u8());
  if (head.left > 0) throw reader.fault("has bytes behind its head's end");
  return sizes;
}

/** TCG_PCR_EVENT2 (10.2.2). */
function readEvent(reader: LogReader, sizes: ReadonlyMap<number, number>, index: number): MeasuredEvent {
  const where = `at event ${index + 2}`;
  const register = reader.u32();
  const type = reader.u32();
  const count = reader.u32();
  if (register >= registers) throw reader.fault(`names register ${register} ${where}, which no TPM has`);
  if (count === 0 || count > sizes.size)
    throw reader.fault(`has ${count} digests ${where}; its head has ${sizes.size} algorithms`);
  const seen = new Set<number>();
  const digests: Partial<Record<string, string>> = {};
  for (let digest = 0; digest < count; digest++) {
    const id = reader.u16();
    const bytes = sizes.get(id);
    if (bytes === undefined)
      throw reader.fault(
        `has a digest of algorithm 0x${id.toString(16)} ${where}, which its head does not name`,
      );
    if (seen.has(id)) throw reader.fault(`has two digests of one algorithm ${where}`);
    seen.add(id);
    const known = algorithmOf(id);
    if (known === undefined) reader.skip(bytes);
    else digests[known] = reader.bytes(bytes).toString("hex");
  }
  const bytes = reader.u32();
  if (bytes > reader.left)
    throw reader.fault(`is cut ${where}: ${bytes} bytes are announced, ${reader.left} are left`);
  const data = reader.bytes(bytes);
  const extended = type !== eventTypes.EV_NO_ACTION;
  const confirmed = extended && dataOfDigest(type, data, digests);
  const words = eventWords(type, data, register);
  const untrue = extended && !confirmed && mustBeOfItsData(type, data);
  return {
    index,
    register,
    type,
    digests,
    data,
    extended,
    confirmed,
    words: untrue ? `${words} (so says the log, but what was measured is something else)` : words,
  };
}

/** The locality with which the platform started, where an event says it (10.4.5.3, TCG_EfiStartupLocalityEvent). */
function localityOf({ type, register, data }: MeasuredEvent): number | null {
  const is = type === eventTypes.EV_NO_ACTION && register === 0 && data.length === 17;
  if (!is || data.subarray(0, 16).toString("latin1") !== "StartupLocality\0") return null;
  return data.readUInt8(16);
}
