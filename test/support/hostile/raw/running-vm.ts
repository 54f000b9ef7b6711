/** A running VM as a raw source offers and sends it: any definition, any files beside it, and streams made by hand. */
import { readdirSync, readFileSync } from "node:fs";
import { limits } from "../../../../src/protocol/limits.ts";
import type { MessageBody } from "../../../../src/protocol/messages.ts";
import { streamParts, vmDigest } from "../../../../src/transfer/chunks/tag-table.ts";
import {
  dataHead,
  encodeDataEnd,
  StreamDigest,
  StreamTagger,
  streamKey,
} from "../../../../src/transfer/streams/stream-frame.ts";
import { wireModelOf } from "../../guests/qemu-place.ts";
import type { RawPeer } from "./peer.ts";
import { type RawFile, RawVm } from "./vm.ts";

/** A machine that takes a moment to start and has next to nothing. */
export const smallMachine = [
  "qemu-system-x86_64",
  ...["-machine", "pc", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none"],
];

export type SentStream = NonNullable<MessageBody<"seal">["streams"]>[number];

export class RawRunningVm extends RawVm {
  readonly words: readonly string[];
  readonly machine: Record<string, unknown>;

  /** `words` come behind those of the small machine; `machine` replaces what the offer says of it. */
  constructor(
    name: string,
    words: readonly string[] = [],
    { files = [] as RawFile[], machine = {} as Record<string, unknown> } = {},
  ) {
    super(name, files);
    this.words = [...smallMachine, ...words];
    this.machine = machine;
  }

  override offer(
    change: Record<string, unknown> = {},
    file: Record<string, unknown> = {},
  ): Record<string, unknown> {
    const definition = this.machine.definition ?? wireModelOf(this.words);
    const machine = { live: false, definition, disks: [], channels: 0, patienceMs: 60_000, ...this.machine };
    return super.offer({ machine, ...change }, file);
  }

  /** A SEAL's body with these streams. */
  sealOf(streams: readonly SentStream[]): MessageBody<"seal"> {
    const { files } = this.seal();
    const named = this.files.map(({ kind, name }, i) => ({ kind, name, digest: files[i]! }));
    return { files, streams: [...streams], digest: vmDigest(this.name, [...named, ...streamParts(streams)]) };
  }
}

/** One stream of a running VM, made by hand over a connection that is its own. */
export class RawStream {
  readonly #peer: RawPeer;
  readonly #stream: number;
  readonly #tagger: StreamTagger;
  readonly #digest: StreamDigest;
  #bytes = 0;

  private constructor(peer: RawPeer, stream: number, tagKey: string, instance: string) {
    this.#peer = peer;
    this.#stream = stream;
    this.#tagger = new StreamTagger(streamKey(Buffer.from(tagKey, "hex"), instance, "source"), stream);
    this.#digest = new StreamDigest(stream);
  }

  /** Says HELLO on a connection; gives the stream once it is welcomed. Rejects where it is not. */
  static async open(
    peer: RawPeer,
    stream: number,
    {
      session,
      tagKey,
      started,
    }: { session: string; tagKey: string; started: Pick<MessageBody<"started">, "instance" | "streamToken"> },
  ): Promise<RawStream> {
    peer.hello({ role: "stream", session, stream, laneToken: started.streamToken, received: 0 });
    await peer.expect("welcome");
    return new RawStream(peer, stream, tagKey, started.instance);
  }

  send(bytes: Buffer): this {
    for (let at = 0; at < bytes.length; at += limits.dataBytes) {
      const piece = bytes.subarray(at, at + limits.dataBytes);
      const tag = this.#tagger.tag(this.#bytes, piece);
      this.#digest.add(tag);
      this.#peer.sendBytes(dataHead("data", this.#bytes, tag, piece.length)).sendBytes(piece);
      this.#bytes += piece.length;
    }
    return this;
  }

  /** Says `bytes` as this zstd frame, which may be of something else. */
  sendZstd(bytes: Buffer, frame: Uint8Array = Bun.zstdCompressSync(bytes)): this {
    const tag = this.#tagger.tag(this.#bytes, bytes);
    this.#digest.add(tag);
    this.#peer.sendBytes(dataHead("dataZstd", this.#bytes, tag, frame.length)).sendBytes(frame);
    this.#bytes += bytes.length;
    return this;
  }

  /** Says the end, and what SEAL is to say of the stream. */
  end(): SentStream {
    const digest = this.#digest.finish(this.#bytes);
    this.#peer.sendBytes(encodeDataEnd(this.#bytes, digest));
    return { stream: this.#stream, bytes: this.#bytes, digest: `sha256:${digest.toString("hex")}` };
  }
}

/** The processes whose command line names this path, but for our own. */
export function processesNaming(path: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      return readFileSync(`/proc/${name}/cmdline`, "latin1").includes(path) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}
