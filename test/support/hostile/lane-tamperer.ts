/**
 * Somebody between the source and the destination of a measured transfer, who does things to what goes
 * over the lane. It stands before one of the destination's two doors.
 */
import type { Socket, TCPSocketListener } from "bun";

/** How the lane's bytes are cut into the units that are tampered with. */
export type Units = "records" | "tls" | "blocks";

/** Takes the lane's n-th unit and gives what travels in its place. */
export type Tamper = (unit: Buffer, index: number) => Buffer[];

export interface TampererOptions {
  port: number;
  units: Units;
  /** Which connection is the lane, by its number (from 0) and its first byte. */
  isLane: (connection: number, firstByte: number) => boolean;
  tamper: Tamper;
}

interface Pair {
  number: number;
  upstream: Socket<Pair> | undefined;
  downstream: Socket<Pair>;
  lane: boolean | undefined;
  rest: Buffer;
  index: number;
  toUpstream: Buffer[];
  toDownstream: Buffer[];
}

const helloBytes = 17;
const blockBytes = 64 * 1024;

export class LaneTamperer {
  readonly #listener: TCPSocketListener<Pair>;
  readonly #options: TampererOptions;
  readonly #pairs = new Set<Pair>();
  #connections = 0;

  constructor(options: TampererOptions) {
    this.#options = options;
    this.#listener = Bun.listen<Pair>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => this.#open(socket),
        data: (socket, bytes) => this.#fromSource(socket.data, Buffer.from(bytes)),
        drain: (socket) => flush(socket.data.toDownstream, socket),
        close: (socket) => {
          this.#pairs.delete(socket.data);
          socket.data.upstream?.end();
        },
        error: () => {},
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  close(): void {
    this.#listener.stop(true);
    for (const { upstream } of this.#pairs) upstream?.terminate();
  }

  #open(downstream: Socket<Pair>): void {
    const pair: Pair = {
      number: this.#connections++,
      upstream: undefined,
      downstream,
      lane: undefined,
      rest: Buffer.alloc(0),
      index: 0,
      toUpstream: [],
      toDownstream: [],
    };
    downstream.data = pair;
    this.#pairs.add(pair);
    void Bun.connect<Pair>({
      hostname: "127.0.0.1",
      port: this.#options.port,
      data: pair,
      socket: {
        open: (socket) => {
          pair.upstream = socket;
          flush(pair.toUpstream, socket);
        },
        data: (_, bytes) => {
          pair.toDownstream.push(Buffer.from(bytes));
          flush(pair.toDownstream, downstream);
        },
        drain: (socket) => flush(pair.toUpstream, socket),
        close: () => void downstream.end(),
        error: () => {},
      },
    });
  }

  #fromSource(pair: Pair, bytes: Buffer): void {
    pair.lane ??= this.#options.isLane(pair.number, bytes[0]!);
    if (pair.lane) {
      pair.rest = Buffer.concat([pair.rest, bytes]);
      for (let unit = this.#nextUnit(pair); unit !== undefined; unit = this.#nextUnit(pair))
        pair.toUpstream.push(...unit);
    } else pair.toUpstream.push(bytes);
    if (pair.upstream) flush(pair.toUpstream, pair.upstream);
  }

  /** What travels for the next whole unit; undefined where none is whole yet. The lane's hello is let through. */
  #nextUnit(pair: Pair): Buffer[] | undefined {
    const { units, tamper } = this.#options;
    const { rest } = pair;
    const hello = units !== "tls" && pair.index === 0;
    const length = hello ? helloBytes : unitLength(units, rest);
    if (length === undefined || rest.length < length) return undefined;
    const unit = Buffer.from(rest.subarray(0, length));
    pair.rest = rest.subarray(length);
    const index = pair.index++;
    return hello ? [unit] : tamper(unit, units === "tls" ? index : index - 1);
  }
}

function unitLength(units: Units, rest: Buffer): number | undefined {
  switch (units) {
    case "blocks":
      // The last block may be short: it is let through when nothing more is to come, which nobody knows here.
      return rest.length === 0 ? undefined : Math.min(blockBytes, rest.length);
    case "records":
      return rest.length < 16 ? undefined : 16 + rest.readUInt32BE(0);
    case "tls":
      return rest.length < 5 ? undefined : 5 + rest.readUInt16BE(3);
  }
}

function flush(queue: Buffer[], socket: Socket<Pair>): void {
  for (let next = queue[0]; next !== undefined; next = queue[0]) {
    const taken = Math.max(0, socket.write(next));
    if (taken < next.length) {
      queue[0] = next.subarray(taken);
      return;
    }
    queue.shift();
  }
}
