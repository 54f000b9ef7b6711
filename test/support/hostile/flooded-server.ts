/** The compiled binary's serve, for trusted sources that flood it: its memory can be looked at. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { killChildren } from "../system/child.ts";
import { type MigrateProcess, runMigrate } from "../system/process.ts";
import { makeIdentity, newSession } from "./hostile-ground.ts";
import { type RawIdentity, RawPeer } from "./raw/peer.ts";
import type { RawVm } from "./raw/vm.ts";

export class FloodedServer {
  readonly process: MigrateProcess;
  readonly #root: string;
  readonly #port: number;
  readonly #identity: RawIdentity;
  readonly #peers: RawPeer[] = [];

  private constructor(root: string, process: MigrateProcess, port: number, identity: RawIdentity) {
    this.#root = root;
    this.process = process;
    this.#port = port;
    this.#identity = identity;
  }

  /** Serves a store, which `fill` may put something into before. */
  static async start(fill: (store: string) => void = () => {}): Promise<FloodedServer> {
    const root = mkdtempSync(join(tmpdir(), "migrate-flood-"));
    const [home, store] = [join(root, "home"), join(root, "store")];
    fill(store);
    const identity = await makeIdentity();
    await TrustFile.load(openHome(home)).add(identity.fingerprint, "source", "a-source");
    const server = runMigrate(["serve", "--listen", "127.0.0.1:0", "--store", store, "--json"], { home });
    const port = Number((await server.waitFor("listening")).address.split(":")[1]);
    return new FloodedServer(root, server, port, identity);
  }

  /** A connection of the source that it trusts. */
  async connect(): Promise<RawPeer> {
    const peer = await RawPeer.connect({ port: this.#port, identity: this.#identity });
    this.#peers.push(peer);
    return peer;
  }

  /** A session of a VM that was accepted, and what makes lanes of it. */
  async begin(
    vm: RawVm,
    change: Parameters<RawVm["offer"]>[0] = {},
  ): Promise<{ accepted: MessageBody<"accept">; openLane: () => Promise<RawPeer> }> {
    const session = newSession();
    const owner = await this.connect();
    await owner.join({ session });
    const accepted = await owner.offer(vm.offer(change));
    const openLane = async () => {
      const lane = await this.connect();
      await lane.hello({ role: "lane", session, laneToken: accepted.laneToken }).expect("welcome");
      return lane;
    };
    return { accepted, openLane };
  }

  /** A new connection is let in and answered. */
  async expectServing(): Promise<void> {
    const peer = await this.connect();
    await peer.join({ session: newSession() });
    await peer.send("list", {}).expect("sessions");
  }

  async close(): Promise<void> {
    for (const peer of this.#peers) peer.close();
    await killChildren();
    rmSync(this.#root, { recursive: true, force: true });
  }
}
