/** A trusted source that describes what it likes to a destination: a session, its lane, and frames by hand. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { encodeFrame, frameTypes } from "../../../src/protocol/frames.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { BlockHasher } from "../../../src/transfer/reuse/store/block-hash.ts";
import { encodeDescribe, parseWant } from "../../../src/transfer/reuse/store/describe.ts";
import type { HostileGround } from "./hostile-ground.ts";
import type { RawIdentity, RawPeer } from "./raw/peer.ts";
import { RawVm } from "./raw/vm.ts";

const { blockBytes, chunkHeaderBytes, frameHeaderBytes, pageBytes, tagBytes } = limits;

export interface DescribingOptions {
  /** What the VM's one disk holds. */
  content: Buffer;
  base?: string;
  /** Its size, where it is another than the content's. */
  bytes?: number;
}

export class DescribingSource {
  readonly vm: RawVm;
  readonly peer: RawPeer;
  /** Let in; speaks for the session. */
  readonly lane: RawPeer;
  /** Of ACCEPT; undefined where it had none. */
  readonly indexKey: Buffer | undefined;
  readonly hasBase: boolean;
  /** Path of the disk while it is received. */
  readonly staged: string;

  private constructor(
    made: Pick<DescribingSource, "vm" | "peer" | "lane" | "indexKey" | "hasBase" | "staged">,
  ) {
    this.vm = made.vm;
    this.peer = made.peer;
    this.lane = made.lane;
    this.indexKey = made.indexKey;
    this.hasBase = made.hasBase;
    this.staged = made.staged;
  }

  /** A session of one disk that is accepted, with a lane. */
  static async begin(
    ground: HostileGround,
    identity: RawIdentity,
    { content, base, bytes = content.length }: DescribingOptions,
  ): Promise<DescribingSource> {
    const name = `vm-${randomBytes(4).toString("hex")}`;
    const vm = new RawVm(name, [{ kind: "disk", name: "disk", content }]);
    const peer = await ground.joined(identity);
    const accepted = await peer.offer(vm.offer(base === undefined ? {} : { base }, { bytes }));
    const lane = await ground.connect({ identity });
    const { laneToken, index } = accepted;
    await lane.hello({ role: "lane", session: peer.session, laneToken }).expect("welcome");
    return new DescribingSource({
      vm,
      peer,
      lane,
      indexKey: index === undefined ? undefined : Buffer.from(index, "hex"),
      hasBase: accepted.base === true,
      staged: ground.staged(peer.session, "disk"),
    });
  }

  /** The tag that these bytes have as the disk's first chunk. */
  tagOf(bytes: Buffer): Buffer {
    const at = frameHeaderBytes + 12;
    return Buffer.from(this.vm.chunk(bytes).subarray(at, at + tagBytes));
  }

  /** DESCRIBE of these bytes as the disk's first chunk, under the key of ACCEPT unless another is given. */
  description(bytes: Buffer, tag: Buffer, key = this.indexKey!): Buffer {
    return encodeDescribe(0, 0, tag, new BlockHasher(key).hashes(bytes));
  }

  /** Sends a frame that is answered by WANT of one chunk; gives the blocks that are found of it. */
  async wanted(frame: Buffer): Promise<number> {
    const { name, payload } = await this.lane.sendBytes(frame).next();
    if (name !== "want") throw new Error(`wanted want, got ${name}: ${payload.toString()}`);
    const [want, ...more] = parseWant(payload);
    if (more.length > 0) throw new Error(`${more.length} more chunks are wanted`);
    return want!.found;
  }

  /** Sends a chunk that is right, and waits for its ACK. */
  async acknowledged(frame: Buffer): Promise<void> {
    const { name } = await this.lane.sendBytes(frame).next();
    if (name !== "ack") throw new Error(`wanted ack, got ${name}`);
  }

  /** True while not a byte of the disk has come. */
  get isUntouched(): boolean {
    const staged = readFileSync(this.staged);
    return staged.equals(Buffer.alloc(staged.length));
  }
}

/** CHUNK of the disk's first chunk without the blocks of a mask: `data` is its block number `block`, and all of it. */
export function chunkWithout(leftOut: number, tag: Buffer, block: number, data: Buffer): Buffer {
  const runs = Buffer.alloc(6);
  runs.writeUInt16BE(1, 0);
  runs.writeUInt16BE((block * blockBytes) / pageBytes, 2);
  runs.writeUInt16BE(Math.ceil(data.length / pageBytes), 4);
  const head = Buffer.alloc(chunkHeaderBytes);
  head.writeUInt32BE(runs.length + data.length, 8);
  tag.copy(head, 12);
  head.writeUInt16BE(leftOut, 14 + tagBytes);
  return encodeFrame(frameTypes.chunk, Buffer.concat([head, runs, data]));
}
