/**
 * The control messages: what each may hold, checked by a schema before anything looks at it
 * (SPEC.md, Messages). The payload is JSON in UTF-8; unknown fields are dropped, so that a later
 * version may add some.
 */
import * as v from "valibot";
import { answer, ask, cards, vnc } from "./asking.ts";
import {
  activate,
  activated,
  challenge,
  enrol,
  enrolled,
  evidence,
  fetchLog,
  logPiece,
} from "./attesting.ts";
import { asMigrateError, type ErrorCode, MigrateError } from "./errors.ts";
import { count, digest, hex, text } from "./fields.ts";
import { encodeFrame, type FrameName, frameTypes } from "./frames.ts";
import { limits } from "./limits.ts";
import { checkOffer, type Offer, offer, readBackKinds } from "./offer.ts";
import { printable } from "./printable.ts";
import { generation, receipt } from "./receipt.ts";

export const sessionId = hex(32);

export const destinationStates = [
  "unknown",
  "receiving",
  "ready",
  "owner",
  "published",
  "closed",
  "cancelled",
] as const;
export type WireState = (typeof destinationStates)[number];

const sessionRow = v.object({
  session: sessionId,
  name: text(128),
  mode: v.picklist(["move", "copy"]),
  state: v.picklist(destinationStates),
  phase: text(32),
  bytes: count(limits.vmBytes),
  doneBytes: count(limits.vmBytes),
  createdAtMs: count(Number.MAX_SAFE_INTEGER),
  /** Absent if the session has not ended, or the destination is too old to say. */
  endedAtMs: v.optional(count(Number.MAX_SAFE_INTEGER)),
  updatedAtMs: count(Number.MAX_SAFE_INTEGER),
});

const nothing = v.object({});

/** The destination's generation, and the highest one of the source that it knows. */
const generations = v.object({ generation, seen: generation });
export type Generations = v.InferOutput<typeof generations>;

/** A word of the handover, and the receipt for it. */
const withReceipt = v.object({ receipt: v.optional(receipt) });

const sealedStream = v.object({
  stream: count(limits.ramStreams + limits.files - 1),
  bytes: count(Number.MAX_SAFE_INTEGER),
  digest,
});

const schemas = {
  hello: v.object({
    version: count(0xffff),
    role: v.picklist(["control", "lane", "stream"]),
    software: text(64),
    session: v.optional(sessionId),
    /** Counts the source's connections of a session; an older one can never speak after a newer. */
    attempt: v.optional(count(0xffff_ffff)),
    laneToken: v.optional(hex(32)),
    /** Of a stream: which one, and what this side has of the other's bytes (see DATA-ACK). */
    stream: v.optional(count(limits.ramStreams + limits.files - 1)),
    received: v.optional(count(Number.MAX_SAFE_INTEGER)),
    /** The source gives receipts; with the highest generation of the destination that it knows. */
    receipts: v.optional(v.object({ seen: generation })),
  }),
  welcome: v.object({
    version: count(0xffff),
    software: text(64),
    /** True if the destination already takes VMs from this source. */
    trusted: v.boolean(),
    /** True if the destination answers ASK. */
    asks: v.optional(v.boolean()),
    /** True if the destination proves what it runs to a source that asks. */
    attests: v.optional(v.boolean()),
    /** True if it lets in no VM of a source that has not proven what it runs. */
    demands: v.optional(v.boolean()),
    /** The destination gives receipts; see `generations`. */
    receipts: v.optional(generations),
    /** True if the destination keeps to a VM's own policy. */
    policies: v.optional(v.boolean()),
    /** It did, until this Unix time; in milliseconds. */
    expiredAtMs: v.optional(count(Number.MAX_SAFE_INTEGER)),
    /** Of a stream: what the destination has of the source's bytes. */
    received: v.optional(count(Number.MAX_SAFE_INTEGER)),
    /** Of a lane: which of the destination's threads takes it, and how many there are. */
    door: v.optional(count(0xff)),
    doors: v.optional(count(0xff)),
  }),
  error: v.object({ code: text(32), message: text(limits.errorTextBytes) }),
  pair: v.object({ ticket: hex(16), proof: hex(64) }),
  paired: v.object({ receipts: v.optional(generations) }),
  offer,
  ask,
  answer,
  challenge,
  evidence,
  fetch: fetchLog,
  log: logPiece,
  /** The source asks to be challenged. */
  attest: nothing,
  /** What the source has shown is accepted. */
  verdict: nothing,
  enrol,
  enrolled,
  activate,
  activated,
  accept: v.object({
    state: v.picklist(["receiving", "owner", "published", "cancelled"]),
    laneToken: hex(32),
    /** True if INVENTORY frames follow, up to INVENTORY-END. */
    inventory: v.boolean(),
    /** True if chunks may come as zstd frames. */
    zstd: v.optional(v.boolean()),
    /** True if chunks may leave out what repeats something that the destination has received already. */
    copies: v.optional(v.boolean()),
    /** The key of block hashes; absent if the store is not looked through for this source. */
    index: v.optional(hex(32)),
    /** True if the base that the offer names is there. */
    base: v.optional(v.boolean()),
    /** True if READY answers a challenge of SEAL. */
    proves: v.optional(v.boolean()),
    /** Of a running VM: what is behind each of its network cards here. */
    cards: v.optional(cards),
    /** Of a running VM: what shows its screen here. */
    vnc: v.optional(vnc),
    /** Of a running VM: true if its processor was compared with the one that it gets here. */
    processor: v.optional(v.boolean()),
    /** True if SEAL may have `bound`. */
    binds: v.optional(v.boolean()),
  }),
  inventoryEnd: nothing,
  seal: v.pipe(
    v.object({
      digest,
      files: v.pipe(v.array(digest), v.maxLength(limits.files)),
      /** Of a running VM: what went to the destination on each stream. */
      streams: v.optional(v.pipe(v.array(sealedStream), v.maxLength(limits.ramStreams + limits.files))),
      /** READY is to prove that the files can be read at that moment. */
      challenge: v.optional(hex(64)),
      /** Of a running VM: true if it was paused at the switchover, and is to stay so. */
      paused: v.optional(v.boolean()),
      /** The digest is also over the VM's UUID, and over its virtual TPM's endorsement key if that is known. */
      bound: v.optional(v.object({ ek: v.optional(digest) })),
    }),
    v.check(({ files, streams }) => files.length > 0 || streams !== undefined, "a VM has at least one file"),
  ),
  ready: v.object({
    digest,
    /** From where the files were read back before this was said; "none" if it is absent. */
    readBack: v.optional(v.picklist(readBackKinds)),
    /** The answer to the challenge of SEAL. */
    proof: v.optional(hex(64)),
    receipt: v.optional(receipt),
  }),
  release: withReceipt,
  owned: withReceipt,
  publish: nothing,
  published: nothing,
  confirm: nothing,
  closed: nothing,
  cancel: nothing,
  cancelled: nothing,
  query: v.object({ session: sessionId }),
  state: v.object({ session: sessionId, state: v.picklist(destinationStates) }),
  list: nothing,
  sessions: v.object({ rows: v.pipe(v.array(sessionRow), v.maxLength(limits.sessionRows)) }),
  ping: nothing,
  pong: nothing,
  /** Asks the destination to be measured against: it starts a process that discards what it gets. */
  profile: v.object({
    /** Largest number of bytes that one run will send. */
    bytes: count(limits.vmBytes),
    /** Fingerprint of the certificate that the measuring source will show. */
    source: digest,
  }),
  profiling: v.object({
    /** Fingerprint of the certificate that the measuring destination will show. */
    destination: digest,
    port: count(0xffff),
    plainPort: count(0xffff),
    /** What a run is proven with on a connection without TLS. */
    secret: hex(64),
  }),
  // Between the two measuring processes, on a connection of each run's own.
  run: v.object({
    number: count(0xffff_ffff),
    proof: hex(64),
    suite: text(32),
    digestKey: hex(32),
    fileBytes: v.pipe(v.array(count(limits.vmBytes)), v.minLength(1), v.maxLength(limits.files)),
  }),
  /** Asks the destination to start its QEMU, which waits for the streams. */
  start: nothing,
  started: v.object({
    instance: hex(32),
    streamToken: hex(32),
    zstd: v.optional(v.boolean()),
    /** True if the images of mirrored disks were made as the offer says. */
    images: v.optional(v.boolean()),
  }),
  runReady: v.object({ lane: hex(32) }),
  runEnd: v.object({ bytes: count(limits.vmBytes), digest: hex(32) }),
  /** The destination's figures in milliseconds and counts, by name. */
  runDone: v.object({
    figures: v.record(text(32), v.pipe(v.number(), v.finite(), v.minValue(0))),
  }),
} as const;

export type MessageName = keyof typeof schemas;
export type MessageBody<N extends MessageName> = v.InferOutput<(typeof schemas)[N]>;
export type RemoteSession = MessageBody<"sessions">["rows"][number];

/** A control message, discriminated by its name. */
export type Message = { [N in MessageName]: { name: N; body: MessageBody<N> } }[MessageName];

const decoder = new TextDecoder("utf-8", { fatal: true });

/** A message as a whole frame. */
export function encodeMessage<N extends MessageName>(name: N, body: MessageBody<N>): Buffer {
  return encodeFrame(frameTypes[name], Buffer.from(JSON.stringify(body)));
}

/** True if a frame carries a control message (and not chunks, acknowledgements or tags). */
export function isMessageName(name: FrameName): name is MessageName {
  return Object.hasOwn(schemas, name);
}

/**
 * Reads the payload of a control frame. Throws MigrateError "protocol" ("name-invalid" for a name
 * that breaks the rules, "limit" for a size, "version" for another version) with the field that is
 * wrong; the text has at most some 200 characters, whatever the peer sent.
 */
export function decodeMessage(name: MessageName, payload: Uint8Array): Message {
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(payload));
  } catch (cause) {
    throw new MigrateError("protocol", `a ${name} message is not JSON`, { cause });
  }
  if (name === "hello" || name === "welcome") checkVersion(json);
  const isOffer = name === "offer" || name === "ask";
  const result = v.safeParse(schemas[name] as v.GenericSchema, json);
  if (result.success) {
    if (isOffer) checkOffer(result.output as Offer);
    return { name, body: result.output } as Message;
  }
  const issue = result.issues[0];
  const path = v.getDotPath(issue) ?? "";
  const code = isOffer && /(^|\.)(name|base)$/.test(path) ? "name-invalid" : "protocol";
  const isSize = isOffer && /\.(b|allocatedB)ytes$/.test(path);
  const bytesOff = isSize && typeof issue.input === "number" && issue.input > limits.vmBytes;
  throw new MigrateError(
    bytesOff ? "limit" : code,
    `${name}.${path}: ${shorten(issue.message)}${bytesOff ? ` (a VM may have at most ${limits.vmBytes} bytes)` : ""}`,
  );
}

/** Before any other field: another version may have other fields. */
function checkVersion(json: unknown): void {
  const version = (json as { version?: unknown } | null)?.version;
  if (typeof version !== "number" || version === limits.version) return;
  throw new MigrateError(
    "version",
    `this host speaks version ${limits.version} of the protocol, not ${version}`,
  );
}

function shorten(message: string): string {
  return printable(message.length > 160 ? `${message.slice(0, 160)}…` : message, " ");
}

/** Errors about this host's own affairs, whose sentences name its paths: a peer receives these words instead. */
const ownAffairs: Partial<Record<ErrorCode, string>> = {
  bug: "an internal error",
  usage: "a mistake in how it was called",
  io: "a file cannot be read",
  "file-unusable": "a file cannot be used",
  "home-unusable": "its own folder cannot be used",
  "store-unusable": "its store cannot be used",
  "tpm-unusable": "its TPM cannot be used",
  "vm-running": "the VM is in use",
  "vm-busy": "the VM is in use",
  "source-changed": "a file of the VM has changed while it was sent",
};

/** What a peer is told of an error: the code and a short text, nothing of this host. */
export function errorForPeer(thrown: unknown): MessageBody<"error"> {
  const error = asMigrateError(thrown);
  const message = Buffer.from(ownAffairs[error.code] ?? printable(error.message, " "));
  // A character that the limit cuts in two is left out.
  const short = new TextDecoder().decode(message.subarray(0, limits.errorTextBytes), { stream: true });
  return { code: error.code, message: short };
}

/** The ERROR frame for a peer. */
export function encodeError(thrown: unknown): Buffer {
  return encodeMessage("error", errorForPeer(thrown));
}
