/** A stream of a running VM as a hostile source has to do with it: how it comes there, and how all see it fail. */
import { expect } from "bun:test";
import type { Socket } from "node:net";
import { fingerprintOf } from "../../../src/channel/certificate.ts";
import type { StreamGround } from "../../transfer/streams/stream-ground.ts";
import type { ExpectedCaller } from "../system/unix-socket.ts";
import { until } from "../system/until.ts";
import { RawPeer } from "./raw/peer.ts";

/** Throws (by `expect`) if the peer is not told this code, the program is not cut off, or the destination's own people are not told. */
export async function expectStreamFailed(
  { ground, peer, program }: { ground: StreamGround; peer: RawPeer; program: Socket },
  code: string,
): Promise<void> {
  expect((await peer.error()).code).toBe(code);
  await peer.ended();
  program.resume();
  await until(() => program.readableEnded || program.destroyed, "the program's end");
  await until(() => ground.failures.length > 0, "the destination's own people to be told");
  expect(ground.failures.map((failure) => failure.code)).toEqual([code as never]);
}

/** A connection of the source that the session belongs to, or with another host's certificate. */
export async function connectTo(
  ground: StreamGround,
  certificate = ground.route.callee.tls!.credentials,
): Promise<RawPeer> {
  const identity = { ...certificate, fingerprint: fingerprintOf(certificate.certificatePem) };
  return await RawPeer.connect({ port: ground.place.port, identity });
}

/** The destination's program at the other end of a stream; it reads, and says what it has heard, or does not. */
export async function programOf(
  { socket }: ExpectedCaller,
  reads: boolean,
): Promise<{ program: Socket; heard: () => Buffer }> {
  const program = await socket;
  program.on("error", () => {});
  const pieces: Buffer[] = [];
  if (reads) program.on("data", (data: Buffer) => pieces.push(data));
  return { program, heard: () => Buffer.concat(pieces) };
}
