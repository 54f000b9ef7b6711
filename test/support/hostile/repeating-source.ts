/** A trusted source that sends what it likes as repeats: a session of two disks, its lane, and shortened chunks by hand. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { limits } from "../../../src/protocol/limits.ts";
import { type Repeat, shortenInPlace } from "../../../src/transfer/chunks/shortened-body.ts";
import { Tagger } from "../../../src/transfer/chunks/tagger.ts";
import { parseWant } from "../../../src/transfer/reuse/store/describe.ts";
import type { HostileGround } from "./hostile-ground.ts";
import type { RawFrame, RawIdentity, RawPeer } from "./raw/peer.ts";
import { RawVm } from "./raw/vm.ts";

const { pageBytes } = limits;

/** The body of a chunk without a page of zeros in it. */
export function fullBody(data: Buffer): Buffer {
  const head = Buffer.from([0, 1, 0, 0, 0, 0]);
  head.writeUInt16BE(Math.ceil(data.length / pageBytes), 4);
  return Buffer.concat([head, data]);
}

/** A CHUNK frame of the first chunk of `file`: this body without these repeats, with its right tag or with another. */
export function chunkOfRepeats(
  vm: RawVm,
  file: number,
  body: Buffer,
  repeats: readonly Repeat[],
  { tag = new Tagger(Buffer.from(vm.tagKey, "hex")).tag(file, 0, body), compressed = false } = {},
): Buffer {
  const room = Buffer.concat([Buffer.alloc(pageBytes), body]);
  const shortened = room.subarray(shortenInPlace(room, pageBytes, room.length, repeats));
  const bytes = compressed ? Bun.zstdCompressSync(shortened) : shortened;
  return vm.rawChunk(bytes, { file, tag, encoding: compressed ? 3 : 2 });
}

export class RepeatingSource {
  readonly vm: RawVm;
  readonly session: string;
  /** Let in; speaks for the session. */
  readonly lane: RawPeer;
  /** Paths of the disks while they are received. */
  readonly staged: readonly string[];
  /** One more lane, let in. */
  readonly openLane: () => Promise<RawPeer>;

  private constructor(made: Pick<RepeatingSource, "vm" | "session" | "lane" | "staged" | "openLane">) {
    this.vm = made.vm;
    this.session = made.session;
    this.lane = made.lane;
    this.staged = made.staged;
    this.openLane = made.openLane;
  }

  /** A session of two disks of this size that is accepted, with a lane. */
  static async begin(ground: HostileGround, identity: RawIdentity, bytes: number): Promise<RepeatingSource> {
    const disk = (name: string) => ({ kind: "disk" as const, name, content: Buffer.alloc(bytes) });
    const vm = new RawVm(`vm-${randomBytes(4).toString("hex")}`, [disk("a"), disk("b")]);
    const peer = await ground.joined(identity);
    const { laneToken, copies } = await peer.offer(vm.offer());
    if (copies !== true) throw new Error("copies are not taken");
    const openLane = async () => {
      const lane = await ground.connect({ identity });
      await lane.hello({ role: "lane", session: peer.session, laneToken }).expect("welcome");
      return lane;
    };
    const staged = ["a", "b"].map((name) => ground.staged(peer.session, name));
    return new RepeatingSource({ vm, session: peer.session, lane: await openLane(), staged, openLane });
  }

  /** What a frame is answered by, in words. */
  async answer(frame: Buffer, lane = this.lane): Promise<string> {
    return this.#wordsOf(await lane.sendBytes(frame).next());
  }

  /**
   * Sends a chunk of repeats that are right until it is acknowledged: a destination that its disk or its host
   * keeps waiting may want it as it is.
   */
  async acknowledged(frame: Buffer, lane = this.lane): Promise<void> {
    let answer = "";
    for (let tries = 0; tries < 30; tries++) {
      answer = await this.answer(frame, lane);
      if (answer.startsWith("ack")) return;
    }
    throw new Error(`wanted an ACK, got ${answer}`);
  }

  /** What stands in a disk at the destination. */
  disk(file: number): Buffer {
    return readFileSync(this.staged[file]!);
  }

  /** True while not a byte of a disk has come. */
  isUntouched(file: number): boolean {
    const staged = this.disk(file);
    return staged.equals(Buffer.alloc(staged.length));
  }

  #wordsOf({ name, payload }: RawFrame): string {
    if (name === "error") return payload.toString();
    const places =
      name === "want"
        ? parseWant(payload)
        : [{ file: payload.readUInt32BE(0), chunk: payload.readUInt32BE(4) }];
    return `${name} ${places.map((place) => Object.values(place).join(" ")).join(", ")}`;
  }
}
