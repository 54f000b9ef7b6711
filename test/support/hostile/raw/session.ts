/** Sessions of VMs that a trusted source makes up, by hand: offered, with lanes that are let in. */
import { expect } from "bun:test";
import { randomBytes } from "node:crypto";
import { limits } from "../../../../src/protocol/limits.ts";
import type { HostileGround } from "../hostile-ground.ts";
import type { RawIdentity, RawPeer } from "./peer.ts";
import { RawVm } from "./vm.ts";

/** A session whose offer was accepted. */
export interface RawSession {
  vm: RawVm;
  peer: RawPeer;
  session: string;
  laneToken: string;
}

let count = 0;

/** A name that no VM of this process has yet. */
export const newVmName = (): string => `vm${++count}`;

/** A session of a new VM, whose offer the destination has accepted and of which it has nothing yet. */
export async function offered(
  ground: HostileGround,
  source: RawIdentity,
  vm = new RawVm(newVmName()),
): Promise<RawSession> {
  const peer = await ground.joined(source);
  const { laneToken, state } = await peer.offer(vm.offer());
  expect(state).toBe("receiving");
  return { vm, peer, session: peer.session, laneToken };
}

/** The same of a VM of one file, its RAM; `path` is where that is staged. */
export async function offeredRam(
  ground: HostileGround,
  source: RawIdentity,
  bytes = 3 * limits.pageBytes + 100,
): Promise<RawSession & { path: string }> {
  const vm = new RawVm(newVmName(), [{ kind: "ram", name: "ram", content: randomBytes(bytes) }]);
  const begun = await offered(ground, source, vm);
  return { ...begun, path: ground.staged(begun.session, "ram") };
}

/** A lane that said HELLO, let in or not. */
export async function laneOf(
  ground: HostileGround,
  identity: RawIdentity,
  { session, laneToken }: Pick<RawSession, "session" | "laneToken">,
): Promise<RawPeer> {
  const peer = await ground.connect({ identity });
  return peer.hello({ role: "lane", session, laneToken });
}

/** A lane that was let in. */
export async function openLaneOf(
  ground: HostileGround,
  identity: RawIdentity,
  begun: Pick<RawSession, "session" | "laneToken">,
): Promise<RawPeer> {
  const peer = await laneOf(ground, identity, begun);
  await peer.expect("welcome");
  return peer;
}
