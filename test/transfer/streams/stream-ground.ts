/**
 * Two programs joined by streams, with everything in between as it is in a migration: unix sockets, the
 * source's Workers, a link that can be cut, and the destination's doors.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TcpAddress } from "../../../src/channel/address.ts";
import { fingerprintOf, makeCertificate } from "../../../src/channel/certificate.ts";
import { UnixListener } from "../../../src/platform/unix-listener.ts";
import type { MigrateError } from "../../../src/protocol/errors.ts";
import type { Compression } from "../../../src/transfer/compression/compression.ts";
import { ArrivingStreams } from "../../../src/transfer/doors/arriving-streams.ts";
import type { FromDoor } from "../../../src/transfer/doors/door-messages.ts";
import { DoorPool } from "../../../src/transfer/doors/door-pool.ts";
import { StreamPool, type StreamRoute } from "../../../src/transfer/streams/stream-pool.ts";
import type { StreamTiming } from "../../../src/transfer/streams/stream-watch.ts";
import { CuttingProxy } from "../../support/moves/cutting-proxy.ts";
import { withDeadline } from "../../support/system/deadline.ts";
import { expectCaller } from "../../support/system/unix-socket.ts";

/** The door that is the destination's only holder of a stream is met by chance: with two, every second time. */
export interface GroundOptions {
  doors?: number;
  secure?: boolean;
  workers?: number;
  bandwidthBytesPerSec?: number | null;
  retryForMs?: number;
  compression?: Compression;
  timing?: StreamTiming;
  /** The link counts frames, and can then not be cut at a byte; without TLS alone. */
  parseFrames?: boolean;
}

export interface Programs {
  source: Socket;
  destination: Socket;
}

const patienceMs = 60_000;

/** The number of a stream that there is not. */
export const nobodys = 79;

export class StreamGround {
  readonly folder = mkdtempSync(join(tmpdir(), "migrate-stream-"));
  readonly session = randomBytes(16).toString("hex");
  readonly instance = randomBytes(16).toString("hex");
  readonly token = randomBytes(16).toString("hex");
  readonly tagKey = randomBytes(16);
  /** What the destination's main thread was told of failures. */
  readonly failures: MigrateError[] = [];
  readonly links: { state: "lost" | "restored"; stream: number; message: string }[] = [];
  receivedBytes = 0;
  /** Called at every loss and return of a connection. */
  heardLink: ((state: "lost" | "restored", stream: number) => void) | undefined;
  doors!: DoorPool;
  proxy!: CuttingProxy;
  arriving!: ArrivingStreams;
  pool!: StreamPool;
  route!: StreamRoute;
  /** Which doors a stream was asked for at, one after the other. */
  readonly asked: number[] = [];
  readonly #sockets: Socket[] = [];

  /** Where the doors listen. */
  get place(): TcpAddress {
    return this.doors.places[0] as TcpAddress;
  }

  static async make(options: GroundOptions = {}): Promise<StreamGround> {
    const { doors = 2, secure = true, workers = 1, bandwidthBytesPerSec = null } = options;
    const ground = new StreamGround();
    const credentials = secure ? await makeCertificate() : null;
    const peer = credentials ? fingerprintOf(credentials.certificatePem) : null;
    ground.doors = await DoorPool.open({
      listen: [{ host: "127.0.0.1", port: 0 }],
      credentials,
      workers: doors,
      receive: (door, message) => ground.#hear(door, message),
      broken: (error) => {
        throw error;
      },
    });
    ground.proxy = await CuttingProxy.open({
      target: () => ground.place,
      parseFrames: options.parseFrames ?? false,
    });
    ground.arriving = new ArrivingStreams({
      session: ground.session,
      peer: peer ?? "insecure",
      instance: ground.instance,
      token: ground.token,
      tagKey: ground.tagKey,
      doors: ground.doors,
      path: (stream) => (stream === nobodys ? null : ground.pathOf(stream)),
      failed: (error) => ground.failures.push(error),
      received: (bytes) => {
        ground.receivedBytes += bytes;
      },
    });
    const { session, instance, token, tagKey } = ground;
    const { retryForMs = 20_000 } = options;
    ground.route = {
      callee: {
        address: ground.proxy.address,
        tls: credentials === null || peer === null ? null : { credentials, peer },
      },
      session,
      instance,
      token,
      tagKey,
      compression: options.compression ?? "off",
      retryForMs,
      timing: options.timing,
    };
    ground.pool = new StreamPool(ground.route, {
      workers,
      bandwidthBytesPerSec,
      link: (state, stream, message) => {
        ground.links.push({ state, stream, message });
        ground.heardLink?.(state, stream);
      },
    });
    return ground;
  }

  /** Where the destination's program of a stream listens. */
  pathOf(stream: number): string {
    return join(this.folder, `destination-${stream}`);
  }

  /** A descriptor for the source's end of a stream, and the program that is connected to it. */
  async sourceProgram(): Promise<{ fd: number; program: Socket }> {
    const listener = UnixListener.listen(join(this.folder, `source-${randomBytes(4).toString("hex")}`));
    try {
      const program = createConnection({ path: listener.path, allowHalfOpen: true });
      return { fd: await listener.accept(), program: this.#keep(program) };
    } finally {
      listener.close();
    }
  }

  /** Two programs, joined by a stream that stands. */
  async join(stream: number): Promise<Programs> {
    const caller = await expectCaller(this.pathOf(stream));
    const { fd, program } = await this.sourceProgram();
    const opened = this.pool.open(stream, fd);
    opened.catch(() => caller.close());
    const destination = await withDeadline(caller.socket, patienceMs, "the destination's program");
    await withDeadline(opened, patienceMs, "the stream to open");
    return { source: program, destination: this.#keep(destination) };
  }

  async close(): Promise<void> {
    this.pool.close();
    this.arriving.drop();
    for (const socket of this.#sockets) socket.destroy();
    await this.proxy.close();
    await this.doors.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #keep(socket: Socket): Socket {
    // A program that is cut off sees an error of the system's; what comes of it is the test's business.
    socket.on("error", () => {});
    this.#sockets.push(socket);
    return socket;
  }

  #hear(door: number, message: FromDoor): void {
    if (message.kind === "stream") {
      this.asked.push(door);
      this.arriving.admit(door, message);
    } else if (message.kind === "stream-state") {
      this.arriving.receive(door, message);
    }
  }
}

/** Everything that comes on a socket to its end, as one buffer. */
export async function everything(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const ended = Promise.withResolvers<void>();
  socket.on("data", (data: Buffer) => pieces.push(data));
  socket.once("end", ended.resolve);
  socket.once("close", () => ended.reject(new Error("the connection was closed before its end")));
  ended.promise.catch(() => {});
  await withDeadline(
    ended.promise,
    patienceMs,
    () => `the end; so far ${pieces.reduce((sum, { length }) => sum + length, 0)} bytes`,
  );
  return Buffer.concat(pieces);
}
