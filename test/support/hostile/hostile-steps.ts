/** What a destination that has nothing good in mind does with a running VM, step by step. */
import { limits } from "../../../src/protocol/limits.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import {
  dataHead,
  encodeDataAck,
  encodeDataEnd,
  StreamDigest,
  StreamTagger,
  streamKey,
} from "../../../src/transfer/streams/stream-frame.ts";
import { accept, letIn, type Script, type Visit } from "./hostile-destination.ts";
import type { RawPeer } from "./raw/peer.ts";

export const instance = "2".repeat(32);
export const streamToken = "3".repeat(32);
/** The tag key of the VM's session, once it has been offered. */
let tagKey = Buffer.alloc(16);

/** Shows life for as long as the connection stands, and says nothing else. */
function showLife(peer: RawPeer): void {
  const timer = setInterval(() => peer.send("ping", {}), 50);
  void peer.closed.then(() => clearInterval(timer));
}

/** Up to STARTED, as an honest destination says it. */
export async function start(visit: Visit, change: Partial<MessageBody<"started">> = {}): Promise<void> {
  const offer = await letIn(visit);
  tagKey = Buffer.from(offer.tagKey, "hex");
  accept(visit.peer);
  await visit.peer.expect("start");
  visit.peer.send("started", { instance, streamToken, ...change });
}

/** Up to SEAL, which it gives. */
export async function upToSeal(visit: Visit): Promise<MessageBody<"seal">> {
  await start(visit);
  return await visit.peer.expect("seal");
}

export async function welcome({ peer }: Visit, received = 0): Promise<void> {
  peer.send("welcome", { version: limits.version, software: "hostile", trusted: true, received });
}

/** Takes a stream as an honest destination does, and ends it with the source. */
export const takeStream: Script = async (visit) => {
  const { peer, hello } = visit;
  await welcome(visit);
  for (let bytes = 0; ; ) {
    const { name, payload } = await peer.next();
    if (name === "data") bytes += payload.length - limits.dataHeaderBytes;
    if (name === "data") peer.sendBytes(encodeDataAck(bytes));
    if (name !== "dataEnd") continue;
    peer.sendBytes(encodeDataAck(bytes + 1));
    peer.sendBytes(encodeDataEnd(0, new StreamDigest(hello.stream!).finish(0)));
  }
};

/** Stays, alive and silent. */
export const stay: Script = async ({ peer }) => {
  showLife(peer);
  await peer.closed;
};

/** Takes nothing and says nothing. */
export const beSilent: Script = async ({ peer }) => void (await peer.closed);

/** Says bytes on a stream, in the way of a destination that is honest about them. */
export function sayOn({ peer, hello }: Visit, bytes: Buffer, pieceBytes = 64 * 1024): void {
  const tagger = new StreamTagger(streamKey(tagKey, instance, "destination"), hello.stream!);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = bytes.subarray(at, at + pieceBytes);
    peer.sendBytes(dataHead("data", at, tagger.tag(at, piece), piece.length)).sendBytes(piece);
  }
}
