/**
 * A source that a destination trusts and that does its worst, in every way at once, until it is told to stop:
 * offers, cancelled sessions, questions, inventories that it does not read, connections, guesses, and frames that
 * are small and make much work.
 */
import { randomBytes } from "node:crypto";
import { connect as connectTcp, type Socket } from "node:net";
import { limits } from "../../../../src/protocol/limits.ts";
import { encodeDescribe } from "../../../../src/transfer/reuse/store/describe.ts";
import { newSession } from "../hostile-ground.ts";
import { type RawIdentity, RawPeer } from "../raw/peer.ts";
import { RawVm } from "../raw/vm.ts";

const { chunkBytes, inventoryTags, tagBytes, blockBytes, blockHashBytes, vmBytes } = limits;

export class WorstSource {
  /** How often each of its ways came to its end. */
  readonly done: Record<string, number> = {};
  readonly #port: number;
  readonly #identity: RawIdentity;
  readonly #peers = new Set<RawPeer>();
  #isOver = false;
  #ways: Promise<void>[] = [];

  constructor(port: number, identity: RawIdentity) {
    this.#port = port;
    this.#identity = identity;
  }

  begin(): void {
    const ways = {
      cancelled: () => this.#cancelled(),
      empty: () => this.#empty(),
      lists: () => this.#lists(),
      more: () => this.#lists(),
      unread: () => this.#unread(),
      unreadToo: () => this.#unread(),
      bare: () => this.#bare(),
      idle: () => this.#idle(),
      bombs: () => this.#bombs(),
      guesses: () => this.#guesses(),
    };
    this.#ways = Object.entries(ways).map(([name, way]) => this.#again(name, way));
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    for (const peer of this.#peers) peer.close();
    await Promise.all(this.#ways);
  }

  /** One way after the other time; that the destination refuses is what it should do. */
  async #again(name: string, way: () => Promise<void>): Promise<void> {
    while (!this.#isOver) {
      try {
        await way();
        this.done[name] = (this.done[name] ?? 0) + 1;
      } catch {
        await Bun.sleep(20);
      }
    }
  }

  async #joined(session = newSession(), attempt = 1): Promise<RawPeer & { session: string }> {
    const peer = await this.#connect();
    await peer.join({ session, attempt });
    return Object.assign(peer, { session });
  }

  async #connect(): Promise<RawPeer> {
    if (this.#isOver) throw new Error("over");
    const peer = await RawPeer.connect({ port: this.#port, identity: this.#identity });
    this.#peers.add(peer);
    void peer.closed.then(() => this.#peers.delete(peer));
    return peer;
  }

  /** A session of one disk, with a lane. */
  async #session(bytes: number) {
    const vm = new RawVm(`x-${randomBytes(6).toString("hex")}`, [
      { kind: "disk", name: "d", content: Buffer.alloc(0) },
    ]);
    const peer = await this.#joined();
    const accepted = await peer.offer(vm.offer({}, { bytes, allocatedBytes: 0 }));
    const lane = await this.#connect();
    const { laneToken } = accepted;
    await lane.hello({ role: "lane", session: peer.session, laneToken }).expect("welcome");
    return { vm, peer, lane, accepted };
  }

  async #cancelled(): Promise<void> {
    const files = Array.from({ length: limits.files }, (_, i) => ({
      kind: "disk" as const,
      name: `${"n".repeat(240)}-${i}`,
      content: Buffer.alloc(0),
    }));
    const peer = await this.#joined();
    await peer.offer(new RawVm(`c-${randomBytes(6).toString("hex")}`, files).offer());
    await peer.send("cancel", {}).expect("cancelled");
    peer.close();
  }

  async #empty(): Promise<void> {
    const peer = await this.#joined();
    await peer.offer(new RawVm(`e-${randomBytes(6).toString("hex")}`).offer());
    peer.close();
  }

  async #lists(): Promise<void> {
    const peers = await Promise.all(Array.from({ length: 8 }, () => this.#joined()));
    for (const peer of peers) for (let i = 0; i < 30; i++) peer.send("list", {});
    for (const peer of peers) for (let i = 0; i < 30; i++) await peer.expect("sessions");
    for (const peer of peers) peer.close();
  }

  /** A page in every stretch of a disk of 8 TiB, and then an inventory of 128 MiB that nobody reads. */
  async #unread(): Promise<void> {
    const { vm, peer, lane } = await this.#session(vmBytes);
    const page = Buffer.alloc(chunkBytes);
    page.fill(1, 0, 4096);
    const stretches = vmBytes / chunkBytes / inventoryTags;
    for (let from = 0; from < stretches && !this.#isOver; from += 128) {
      await lane.sendChunks(
        Array.from({ length: 128 }, (_, i) => vm.chunk(page, 0, (from + i) * inventoryTags)),
      );
    }
    lane.close();
    peer.close();
    for (let attempt = 2; attempt < 6; attempt++) {
      const again = await this.#joined(peer.session, attempt);
      again.socket.pause();
      again.sendJson("offer", vm.offer({}, { bytes: vmBytes, allocatedBytes: 0 }));
      await Bun.sleep(4000);
      again.close();
    }
  }

  /** Connections of nobody, from another address. */
  async #bare(): Promise<void> {
    const sockets: Socket[] = [];
    try {
      for (let i = 0; i < 100 && !this.#isOver; i++) {
        for (let j = 0; j < 10; j++) {
          const socket = connectTcp({ host: "127.0.0.1", port: this.#port, localAddress: "127.0.0.9" });
          socket.on("error", () => {});
          sockets.push(socket);
        }
        await Bun.sleep(20);
      }
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  }

  async #idle(): Promise<void> {
    const peers = [];
    for (let i = 0; i < 60; i++) peers.push(await this.#joined());
    for (const peer of peers) peer.close();
  }

  /** Chunks of a hundred bytes that are a MiB each. */
  async #bombs(): Promise<void> {
    const { vm, peer, lane } = await this.#session(1024 * chunkBytes);
    const frames = Array.from({ length: 16 }, (_, chunk) => {
      const plain = vm.chunk(Buffer.alloc(chunkBytes, 7), 0, chunk);
      const head = limits.frameHeaderBytes + limits.chunkHeaderBytes;
      const tagAt = limits.frameHeaderBytes + 12;
      const tag = plain.subarray(tagAt, tagAt + tagBytes);
      return vm.rawChunk(Bun.zstdCompressSync(plain.subarray(head)) as Buffer, { chunk, tag, encoding: 1 });
    });
    for (let round = 0; round < 50 && !this.#isOver; round++) await lane.sendChunks(frames);
    await peer.send("cancel", {}).expect("cancelled");
    lane.close();
    peer.close();
  }

  async #guesses(): Promise<void> {
    const { peer, lane, accepted } = await this.#session(vmBytes);
    for (let chunk = 0; chunk < 64 && accepted.index !== undefined; chunk++) {
      const hashes = randomBytes((chunkBytes / blockBytes) * blockHashBytes);
      lane.sendBytes(encodeDescribe(0, chunk, randomBytes(tagBytes), hashes));
    }
    if (accepted.index !== undefined) await lane.next();
    lane.close();
    await peer.send("cancel", {}).expect("cancelled");
    peer.close();
  }
}
