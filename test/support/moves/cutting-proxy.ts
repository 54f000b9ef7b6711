/**
 * A link that can be broken at will: a TCP relay between source and destination. On an insecure link
 * it knows the frames and breaks it before, inside or after one of them; on any link it can count
 * bytes. A cut is made once; connections that come later go through.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { type FrameName, frameName } from "../../../src/protocol/frames.ts";
import { limits } from "../../../src/protocol/limits.ts";

export type Direction = "to-destination" | "to-source";
export type LinkKind = "control" | "lane";

export interface Cut {
  direction: Direction;
  /** Which frame, counted from 1 over all connections of this kind; absent where bytes are counted. */
  frame?: { link: LinkKind; number: number };
  /** Bytes of the frame (or, without one, of the whole direction) that still get through. */
  bytes: number | "half" | "all";
  /** How the link ends: closed, reset, or never heard of again. */
  how: "end" | "reset" | "silence";
  /** Whether this connection alone breaks, or all that go through here. */
  scope: "connection" | "link";
}

interface Relay {
  source: Socket;
  destination: Socket;
  kind: LinkKind;
  /** Which stream of a running VM it carries. */
  stream: number | undefined;
  /** Nothing passes any more. */
  dead: boolean;
  /** Bytes of a frame that is not whole yet. */
  held: Record<Direction, Buffer>;
}

export class CuttingProxy {
  /** Frames that have passed whole, by name. Insecure links alone. */
  readonly frames = new Map<FrameName, number>();
  /** Connections that came here, refused ones aside. */
  connections = 0;
  /** Bytes that came here, by where they were going. */
  readonly bytes: Record<Direction, number> = { "to-destination": 0, "to-source": 0 };
  /** What ERROR frames said that have passed. */
  readonly errors: { direction: Direction; text: string }[] = [];
  /** New connections are reset at once while this is set. */
  refusing = false;
  /** True once the planned cut has been made. */
  cutMade = false;
  /** Asked for each frame before it passes; where it gives true the link is broken in front of it. */
  breakBefore: ((direction: Direction, name: FrameName, stream?: number) => boolean) | undefined;
  /** May change the bytes of a frame that is about to pass. */
  rewrite: ((direction: Direction, name: FrameName, frame: Buffer) => void) | undefined;
  /** New connections that wait until the far end is there; undefined while none has to. */
  #held: Socket[] | undefined;
  readonly #server: Server;
  readonly #target: () => { host: string; port: number };
  readonly #relays = new Set<Relay>();
  readonly #counted = new Map<string, number>();
  #cut: Cut | undefined;
  readonly #parseFrames: boolean;

  private constructor(options: ProxyOptions) {
    this.#target = options.target;
    this.#parseFrames = options.parseFrames;
    this.#cut = options.cut;
    // A half-closed connection stays half open: either end says when it has ended.
    this.#server = createServer({ allowHalfOpen: true }, (source) => this.#accept(source));
  }

  /** Listens on a free port of 127.0.0.1. */
  static async open(options: ProxyOptions): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(options);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get address(): { host: string; port: number } {
    return { host: "127.0.0.1", port: (this.#server.address() as { port: number }).port };
  }

  /** host:port */
  get addressText(): string {
    return `127.0.0.1:${this.address.port}`;
  }

  /** How often a frame has passed whole. */
  passed(name: FrameName): number {
    return this.frames.get(name) ?? 0;
  }

  /** Plans the next cut; frames and bytes count from here. */
  plan(cut: Cut): void {
    this.#cut = cut;
    this.cutMade = false;
    this.#counted.clear();
    this.bytes["to-destination"] = this.bytes["to-source"] = 0;
  }

  /** Breaks everything that goes through here now. */
  breakAll(how: Cut["how"] = "reset"): void {
    for (const relay of [...this.#relays]) breakRelay(relay, how);
  }

  /** Lets nothing more pass on what is connected now, until what this returns is called. */
  stall(): () => void {
    const sockets = [...this.#relays].flatMap(({ source, destination }) => [source, destination]);
    for (const socket of sockets) socket.pause();
    return () => {
      for (const socket of sockets) socket.resume();
    };
  }

  /** Lets new connections wait, as on a slow link, until what this returns is called. */
  hold(): () => void {
    this.#held ??= [];
    return () => {
      const held = this.#held ?? [];
      this.#held = undefined;
      for (const source of held) this.#accept(source);
    };
  }

  async close(): Promise<void> {
    for (const source of this.#held ?? []) source.destroy();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.breakAll();
    await closed;
  }

  #accept(source: Socket): void {
    if (this.refusing) {
      source.on("error", () => {});
      source.resetAndDestroy();
      return;
    }
    if (this.#held !== undefined) {
      source.on("error", () => {});
      this.#held.push(source);
      return;
    }
    this.connections++;
    const destination = connect({ ...this.#target(), allowHalfOpen: true });
    const none = Buffer.alloc(0);
    const relay: Relay = {
      source,
      destination,
      kind: "control",
      stream: undefined,
      dead: false,
      held: { "to-destination": none, "to-source": none },
    };
    this.#relays.add(relay);
    this.#carry(relay, "to-destination", source, destination);
    this.#carry(relay, "to-source", destination, source);
  }

  #carry(relay: Relay, direction: Direction, from: Socket, to: Socket): void {
    from.setNoDelay(true);
    from.on("data", (data: Buffer) => {
      // What comes after the cut is read and dropped, as on a link that is down.
      if (relay.dead) return;
      const { passing, cut } = this.#parseFrames
        ? this.#passFrames(relay, direction, data)
        : this.#passBytes(direction, data);
      const more = passing.length === 0 || to.write(passing);
      if (cut) {
        for (const other of cut.scope === "link" ? [...this.#relays] : [relay]) breakRelay(other, cut.how);
      } else if (!more) {
        from.pause();
        to.once("drain", () => from.resume());
      }
    });
    from.on("end", () => {
      if (!relay.dead) to.end();
    });
    from.on("error", () => {
      if (!relay.dead) breakRelay(relay, "reset");
    });
    from.on("close", () => {
      if (!relay.dead && from.readableEnded === false) breakRelay(relay, "end");
      if (relay.source.destroyed && relay.destination.destroyed) this.#relays.delete(relay);
    });
  }

  #passBytes(direction: Direction, data: Buffer): { passing: Buffer; cut?: Cut } {
    const before = this.bytes[direction];
    this.bytes[direction] += data.length;
    const cut = this.#cut;
    if (cut?.direction !== direction || this.cutMade || typeof cut.bytes !== "number")
      return { passing: data };
    if (cut.bytes > this.bytes[direction]) return { passing: data };
    this.cutMade = true;
    return { passing: data.subarray(0, cut.bytes - before), cut };
  }

  /** Lets whole frames pass; a frame is held until it is whole. */
  #passFrames(relay: Relay, direction: Direction, data: Buffer): { passing: Buffer; cut?: Cut } {
    this.bytes[direction] += data.length;
    const held = Buffer.concat([relay.held[direction], data]);
    let at = 0;
    while (held.length - at >= limits.frameHeaderBytes) {
      const end = at + limits.frameHeaderBytes + held.readUInt32BE(at);
      if (end > held.length) break;
      const frame = held.subarray(at, end);
      const name = frameName(frame.readUInt8(4)) ?? "error";
      const payload = frame.subarray(limits.frameHeaderBytes);
      if (name === "hello" && payload.includes('"role":"lane"')) relay.kind = "lane";
      if (name === "hello" && payload.includes('"role":"stream"')) relay.stream = streamIn(payload);
      const cut = this.#cutAt(relay, direction, name);
      if (cut) return { passing: held.subarray(0, at + prefixBytes(cut.bytes, frame)), cut };
      this.rewrite?.(direction, name, frame);
      this.frames.set(name, this.passed(name) + 1);
      if (name === "error") this.errors.push({ direction, text: payload.toString() });
      at = end;
    }
    relay.held[direction] = Buffer.from(held.subarray(at));
    return { passing: held.subarray(0, at) };
  }

  /** The cut that is to be made at the frame that is about to pass. */
  #cutAt(relay: Relay, direction: Direction, name: FrameName): Cut | undefined {
    if (this.breakBefore?.(direction, name, relay.stream)) {
      this.cutMade = true;
      return { direction, bytes: 0, how: "reset", scope: "link" };
    }
    // Heartbeats come when they come: they would make the count a matter of luck.
    if (name === "ping" || name === "pong") return undefined;
    const key = `${direction} ${relay.kind}`;
    const number = (this.#counted.get(key) ?? 0) + 1;
    this.#counted.set(key, number);
    const cut = this.#cut;
    if (this.cutMade || cut?.frame === undefined || cut.direction !== direction) return undefined;
    if (cut.frame.link !== relay.kind || cut.frame.number !== number) return undefined;
    this.cutMade = true;
    return cut;
  }
}

export interface ProxyOptions {
  /** Asked for each connection. */
  target: () => { host: string; port: number };
  /** False on a secure link. */
  parseFrames: boolean;
  cut?: Cut;
}

function streamIn(hello: Buffer): number | undefined {
  const found = /"stream":(\d+)/.exec(hello.toString("latin1"));
  return found === null ? undefined : Number(found[1]);
}

function prefixBytes(bytes: Cut["bytes"], frame: Buffer): number {
  if (bytes === "all") return frame.length;
  if (bytes === "half") return Math.ceil((frame.length + limits.frameHeaderBytes) / 2);
  return Math.min(bytes, frame.length);
}

function breakRelay(relay: Relay, how: Cut["how"]): void {
  relay.dead = true;
  for (const socket of [relay.source, relay.destination]) {
    if (how === "silence" || socket.destroyed) continue;
    // What has been given to the socket still goes out, then the connection ends.
    if (how === "end") socket.end(() => socket.destroy());
    else socket.write("", () => socket.resetAndDestroy());
  }
}
