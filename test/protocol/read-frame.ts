/** A frame's payload, read as the side reads it that it comes to; messages aside, and chunks, which need more than their frame. */
import type { FrameName } from "../../src/protocol/frames.ts";
import { chunkCount } from "../../src/protocol/limits.ts";
import { parseAck } from "../../src/transfer/chunks/ack.ts";
import { parseInventory } from "../../src/transfer/chunks/inventory.ts";
import { parseDescribe, parseWant } from "../../src/transfer/reuse/store/describe.ts";
import { parseDataAck } from "../../src/transfer/streams/stream-frame.ts";
import type { StreamInbox } from "../../src/transfer/streams/stream-inbox.ts";

/** Takes the sizes of the VM's files, and what takes in a stream. Throws the MigrateError that refuses it. */
export function readFrame(
  name: FrameName,
  payload: Buffer,
  files: readonly number[],
  inbox: StreamInbox,
): void {
  if (name === "inventory") parseInventory(payload, files.map(chunkCount));
  if (name === "ack") parseAck(payload);
  if (name === "data" || name === "dataZstd") inbox.data(payload, name === "dataZstd");
  if (name === "dataAck") parseDataAck(payload);
  if (name === "dataEnd") inbox.end(payload);
  if (name === "describe") parseDescribe(payload, files);
  if (name === "want") parseWant(payload);
}
