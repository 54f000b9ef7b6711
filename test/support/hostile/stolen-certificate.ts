/**
 * A thief: shows somebody else's certificate, which is no secret, and signs the handshake with a key
 * of its own. As a TLS client towards a destination, and as a TLS server towards a source.
 */
import { createPrivateKey, randomBytes, X509Certificate } from "node:crypto";
import { connect, createServer, type Server, type Socket } from "node:net";
import { withDeadline } from "../system/deadline.ts";
import {
  certificate,
  certificateVerify,
  cipherSuite,
  ecdsaP256Sha256,
  finished,
  type Incoming,
  makeKeyShare,
  message,
  messageTypes,
  Protection,
  plainRecord,
  RecordReader,
  Schedule,
  u8,
  u16,
  vector,
  x25519Group,
} from "./tls13.ts";

export interface Disguise {
  /** The certificate that is shown. */
  certificatePem: string;
  /** The key that signs. The certificate's own makes an honest peer of it. */
  privateKeyPem: string;
}

const answerMs = 5000;
const extension = (type: number, body: Buffer) => Buffer.concat([u16(type), vector(2, body)]);

/** What a thief gets to hear: the first thing that comes once it has sent its part of the handshake. */
export interface Heard {
  /** "closed" where the connection ended without a word. */
  kind: Incoming["kind"] | "closed";
  content: Buffer;
}

/**
 * Connects to a TLS server on 127.0.0.1 in disguise, sends `data` at the end of the handshake, and
 * gives the first answer to it. A server that took the disguise answers with data.
 */
export async function stealInto(port: number, disguise: Disguise, data: Buffer): Promise<Heard> {
  const socket = connect({ port, host: "127.0.0.1" });
  try {
    return await withDeadline(
      asClient(socket, disguise, data),
      answerMs,
      "an answer to a stolen certificate",
    );
  } finally {
    socket.destroy();
  }
}

async function asClient(socket: Socket, disguise: Disguise, data: Buffer): Promise<Heard> {
  const reader = new RecordReader(bytesOf(socket));
  const schedule = new Schedule();
  const { share, secretWith } = makeKeyShare();
  const hello = message(
    messageTypes.clientHello,
    u16(0x0303),
    randomBytes(32),
    vector(1),
    vector(2, u16(cipherSuite)),
    vector(1, u8(0)),
    vector(
      2,
      extension(43, vector(1, u16(0x0304))),
      extension(10, vector(2, u16(x25519Group))),
      extension(13, vector(2, u16(ecdsaP256Sha256))),
      extension(51, vector(2, u16(x25519Group), vector(2, share))),
    ),
  );
  socket.write(plainRecord(hello));
  const serverHello = await reader.expect(messageTypes.serverHello);
  schedule.add(hello, serverHello);
  schedule.advance(secretWith(keyShareOf(serverHello)));
  const clientSecret = schedule.derive("c hs traffic");
  const serverSecret = schedule.derive("s hs traffic");
  reader.protection = new Protection(serverSecret);
  let requestContext: Buffer = Buffer.alloc(0);
  for (const type of [
    messageTypes.encryptedExtensions,
    messageTypes.certificateRequest,
    messageTypes.certificate,
    messageTypes.certificateVerify,
    messageTypes.finished,
  ]) {
    const received = await reader.expect(type);
    if (type === messageTypes.certificateRequest) requestContext = received.subarray(5, 5 + received[4]!);
    schedule.add(received);
  }
  const handshake = new Protection(clientSecret);
  const shown = certificate(requestContext, derOf(disguise.certificatePem));
  const application = applicationSecrets(schedule);
  schedule.add(shown);
  const proof = certificateVerify("client", schedule.hash, createPrivateKey(disguise.privateKeyPem));
  schedule.add(proof);
  socket.write(
    handshake.seal("handshake", Buffer.concat([shown, proof, finished(clientSecret, schedule.hash)])),
  );
  reader.protection = new Protection(application.server);
  socket.write(new Protection(application.client).seal("data", data));
  let heard = await nextOrClosed(reader);
  // Session tickets are of no interest.
  while (heard.kind === "handshake") heard = await nextOrClosed(reader);
  return heard;
}

/** A TLS server in disguise on a free port of 127.0.0.1. */
export class StolenServer {
  readonly port: number;
  /** For each connection: what the client said at the end of the handshake. */
  readonly heard: Promise<Heard>[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as { port: number }).port;
  }

  static async open(disguise: Disguise): Promise<StolenServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const stolen = new StolenServer(server);
    server.on("connection", (socket) => {
      const heard = asServer(socket, disguise).catch(
        (): Heard => ({ kind: "closed", content: Buffer.alloc(0) }),
      );
      stolen.heard.push(withDeadline(heard, answerMs, "the client's part").finally(() => socket.destroy()));
    });
    return stolen;
  }

  async close(): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function asServer(socket: Socket, disguise: Disguise): Promise<Heard> {
  const reader = new RecordReader(bytesOf(socket));
  const schedule = new Schedule();
  const hello = await reader.expect(messageTypes.clientHello);
  const { share, secretWith } = makeKeyShare();
  const sessionId = hello.subarray(39, 39 + hello[38]!);
  const serverHello = message(
    messageTypes.serverHello,
    u16(0x0303),
    randomBytes(32),
    vector(1, sessionId),
    u16(cipherSuite),
    u8(0),
    vector(2, extension(43, u16(0x0304)), extension(51, Buffer.concat([u16(x25519Group), vector(2, share)]))),
  );
  socket.write(plainRecord(serverHello));
  schedule.add(hello, serverHello);
  schedule.advance(secretWith(offeredShareOf(hello)));
  const clientSecret = schedule.derive("c hs traffic");
  const serverSecret = schedule.derive("s hs traffic");
  const extensions = message(messageTypes.encryptedExtensions, vector(2));
  const shown = certificate(Buffer.alloc(0), derOf(disguise.certificatePem));
  schedule.add(extensions, shown);
  const proof = certificateVerify("server", schedule.hash, createPrivateKey(disguise.privateKeyPem));
  schedule.add(proof);
  const end = finished(serverSecret, schedule.hash);
  schedule.add(end);
  socket.write(
    new Protection(serverSecret).seal("handshake", Buffer.concat([extensions, shown, proof, end])),
  );
  reader.protection = new Protection(clientSecret);
  const heard = await nextOrClosed(reader);
  if (heard.kind !== "handshake") return heard;
  // The client was content with the disguise: its first data is what it would have told the real host.
  reader.protection = new Protection(applicationSecrets(schedule).client);
  return nextOrClosed(reader);
}

/** To be called when the transcript ends with the server's Finished (section 7.1). */
function applicationSecrets(schedule: Schedule): { client: Buffer; server: Buffer } {
  schedule.advance();
  return { client: schedule.derive("c ap traffic"), server: schedule.derive("s ap traffic") };
}

async function nextOrClosed(reader: RecordReader): Promise<Heard> {
  try {
    return await reader.next();
  } catch (thrown) {
    if ((thrown as Error).message === "closed") return { kind: "closed", content: Buffer.alloc(0) };
    throw thrown;
  }
}

/** The extensions of a hello: pairs of type and body. */
function* extensionsOf(bytes: Buffer): Generator<{ type: number; body: Buffer }> {
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt16BE(at + 2);
    yield { type: bytes.readUInt16BE(at), body: bytes.subarray(at + 4, at + 4 + length) };
    at += 4 + length;
  }
}

function keyShareOf(serverHello: Buffer): Buffer {
  const at = 39 + serverHello[38]! + 3 + 2;
  for (const { type, body } of extensionsOf(serverHello.subarray(at)))
    if (type === 51) return body.subarray(4);
  throw new Error("ServerHello without a key share");
}

function offeredShareOf(clientHello: Buffer): Buffer {
  let at = 39 + clientHello[38]!;
  at += 2 + clientHello.readUInt16BE(at);
  at += 1 + clientHello[at]! + 2;
  for (const { type, body } of extensionsOf(clientHello.subarray(at))) {
    if (type !== 51) continue;
    for (let share = 2; share < body.length; ) {
      const length = body.readUInt16BE(share + 2);
      if (body.readUInt16BE(share) === x25519Group) return body.subarray(share + 4, share + 4 + length);
      share += 4 + length;
    }
  }
  throw new Error("the client offers no x25519 key");
}

function derOf(pem: string): Buffer {
  return new X509Certificate(pem).raw;
}

/** Gives what comes, piece by piece; rejects with "closed" at the end. */
function bytesOf(socket: Socket): () => Promise<Buffer> {
  const pieces: Buffer[] = [];
  let closed = false;
  let wake: (() => void) | undefined;
  const ring = () => wake?.();
  socket.on("data", (data: Buffer) => {
    pieces.push(data);
    ring();
  });
  socket.on("error", () => {});
  for (const end of ["end", "close"]) {
    socket.on(end, () => {
      closed = true;
      ring();
    });
  }
  return async () => {
    for (;;) {
      const piece = pieces.shift();
      if (piece !== undefined) return piece;
      if (closed) throw new Error("closed");
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
}
