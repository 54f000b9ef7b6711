/**
 * A destination that means harm to the source's libvirtd: it takes a domain's streams as an honest one does, and plays the
 * libvirtd behind its gate, which answers what it likes.
 */
import { limits } from "../../../../src/protocol/limits.ts";
import type { MessageBody } from "../../../../src/protocol/messages.ts";
import {
  dataHead,
  encodeDataAck,
  encodeDataEnd,
  StreamDigest,
  StreamTagger,
  streamKey,
} from "../../../../src/transfer/streams/stream-frame.ts";
import { type Packet, PacketCutter } from "../../../../src/vm/libvirt/rpc/packet.ts";
import { accept, HostileDestination, type Visit } from "../../hostile/hostile-destination.ts";
import { makeIdentity } from "../../hostile/hostile-ground.ts";

const instance = "2".repeat(32);
const streamToken = "3".repeat(32);
const rpcStream = 1;

export interface HostilePlay {
  /** What libvirtd answers to a call, in however many packets; nothing: it does not. */
  answer: (call: Packet) => Uint8Array[];
  /** What is done on the control connection once the source has said SEAL. */
  sealed?: (visit: Visit, digest: string) => unknown;
}

export class HostileLibvirtd {
  #play: HostilePlay | undefined;
  #tagKey = Buffer.alloc(16);
  /** Everything that its libvirtd was called. */
  readonly calls: Packet[] = [];

  private constructor(readonly destination: HostileDestination) {}

  static async open(): Promise<HostileLibvirtd> {
    let made: HostileLibvirtd | undefined;
    const destination = await HostileDestination.open({
      identity: await makeIdentity(),
      control: (visit) => made!.#control(visit),
      lane: (visit) => (visit.hello.stream === rpcStream ? made!.#rpc(visit) : made!.#ram(visit)),
    });
    made = new HostileLibvirtd(destination);
    return made;
  }

  /** From now on it does this. */
  plays(play: HostilePlay): void {
    this.#play = play;
    this.calls.splice(0);
  }

  async close(): Promise<void> {
    await this.destination.close();
  }

  async #control(visit: Visit): Promise<void> {
    const { peer } = visit;
    peer.send("welcome", { version: limits.version, software: "hostile", trusted: true });
    const { name, payload } = await peer.next();
    // An earlier session of the source's that it has given up.
    if (name === "cancel") return void peer.send("cancelled", {});
    const offer = JSON.parse(payload.toString()) as MessageBody<"offer">;
    this.#tagKey = Buffer.from(offer.tagKey, "hex");
    accept(peer);
    await peer.expect("start");
    peer.send("started", { instance, streamToken });
    const timer = setInterval(() => peer.send("ping", {}), 500);
    void peer.closed.then(() => clearInterval(timer));
    const find = () => peer.frames.find(({ name }) => name === "seal");
    while (find() === undefined && !peer.isClosed) await Bun.sleep(20);
    const seal = find();
    if (seal === undefined) return;
    await this.#play?.sealed?.(visit, JSON.parse(seal.payload.toString()).digest);
  }

  async #rpc({ peer }: Visit): Promise<void> {
    peer.send("welcome", { version: limits.version, software: "hostile", trusted: true, received: 0 });
    const cutter = new PacketCutter();
    const tagger = new StreamTagger(streamKey(this.#tagKey, instance, "destination"), rpcStream);
    let [got, said, looked] = [0, 0, 0];
    while (!peer.isClosed) {
      const frame = peer.frames[looked];
      if (frame === undefined) {
        await Bun.sleep(5);
        continue;
      }
      looked += 1;
      if (frame.name !== "data" && frame.name !== "dataZstd") continue;
      const body = frame.payload.subarray(limits.dataHeaderBytes);
      const bytes = frame.name === "data" ? body : Bun.zstdDecompressSync(body);
      got += bytes.length;
      peer.sendBytes(encodeDataAck(got));
      for (const call of cutter.take(bytes)) {
        const whole = { ...call, payload: call.payload.slice() };
        this.calls.push(whole);
        for (const answer of this.#play?.answer(whole) ?? []) {
          const piece = Buffer.from(answer);
          peer.sendBytes(dataHead("data", said, tagger.tag(said, piece), piece.length)).sendBytes(piece);
          said += piece.length;
        }
      }
    }
  }

  /** Takes the RAM, and tells QEMU once it has it all. */
  async #ram({ peer, hello }: Visit): Promise<void> {
    peer.send("welcome", { version: limits.version, software: "hostile", trusted: true, received: 0 });
    const tagger = new StreamTagger(streamKey(this.#tagKey, instance, "destination"), hello.stream!);
    const digest = new StreamDigest(hello.stream!);
    let ram: Buffer = Buffer.alloc(0);
    let said = 0;
    for (let looked = 0; !peer.isClosed; ) {
      const frame = peer.frames[looked];
      if (frame === undefined) {
        await Bun.sleep(5);
        continue;
      }
      looked += 1;
      const body = frame.payload.subarray(limits.dataHeaderBytes);
      if (frame.name === "data" || frame.name === "dataZstd") {
        ram = Buffer.concat([ram, frame.name === "data" ? body : Bun.zstdDecompressSync(body)]);
        peer.sendBytes(encodeDataAck(ram.length));
        if (said > 0 || !isWhole(ram)) continue;
        const tag = tagger.tag(0, loaded);
        digest.add(tag);
        peer.sendBytes(dataHead("data", 0, tag, loaded.length)).sendBytes(loaded);
        said = loaded.length;
      } else if (frame.name === "dataEnd") {
        peer.sendBytes(encodeDataAck(ram.length + 1));
        peer.sendBytes(encodeDataEnd(said, digest.finish(said)));
      }
    }
  }
}

/** What QEMU waits for on the way back (migration/migration.h, MIG_RP_MSG_SHUT): all is loaded, without an error. */
const loaded = Buffer.from("0001000400000000", "hex");
/** The last part of a QEMU's stream describes it, its length before it (migration/savevm.c, QEMU_VM_VMDESCRIPTION). */
const descriptions = ['{"configuration"', '{"page_size"'].map((text) => Buffer.from(text));

function isWhole(ram: Buffer): boolean {
  return descriptions
    .map((text) => ram.lastIndexOf(text))
    .some((at) => at >= 4 && ram.length >= at + ram.readUInt32BE(at - 4));
}
