/**
 * A destination that really starts QEMU, and running VMs that a trusted source brings to it step by step, by
 * hand; an eye on what is left of each.
 */
import { expect } from "bun:test";
import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { MessageBody } from "../../../src/protocol/messages.ts";
import { endDaemon } from "../../../src/vm/qemu/daemon.ts";
import { startQemu } from "../../../src/vm/qemu/launch.ts";
import { RunFolder } from "../../../src/vm/qemu/run-folder.ts";
import { RunGround } from "../guests/run-ground.ts";
import { until } from "../system/until.ts";
import { HostileGround } from "./hostile-ground.ts";
import type { RawIdentity, RawPeer } from "./raw/peer.ts";
import { processesNaming, RawRunningVm, RawStream, type SentStream, smallMachine } from "./raw/running-vm.ts";
import type { RawFile } from "./raw/vm.ts";

export const disk: RawFile = { kind: "disk", name: "a", content: Buffer.alloc(4096, 7) };
export const drive = ["-drive", "file=/vms/a,format=raw,if=virtio"];

export interface Begun {
  vm: RawRunningVm;
  peer: RawPeer;
  session: string;
  /** The run folder that the VM has, or would have. */
  run: string;
}

export type Started = Begun & { started: MessageBody<"started"> };

export interface Shape {
  words?: readonly string[];
  files?: RawFile[];
  machine?: Record<string, unknown>;
}

export class HostileArrivals {
  readonly ground: HostileGround;
  readonly source: RawIdentity;
  /** A file of the destination's host that no VM may see. */
  readonly secret: string;
  /** What a small machine with the disk `a` sends of its RAM. */
  readonly ram: Buffer;
  #count = 0;

  private constructor(ground: HostileGround, source: RawIdentity, ram: Buffer) {
    this.ground = ground;
    this.source = source;
    this.ram = ram;
    this.secret = join(ground.root, "outside", "secret");
    writeFileSync(this.secret, Buffer.alloc(2 ** 20, "secret"));
  }

  static async make(): Promise<HostileArrivals> {
    const ground = await HostileGround.make({
      qemu: { allowTcg: true, net: { kind: "none" }, confinement: null },
      // Half of them for one source.
      maxSessions: 8,
    });
    return new HostileArrivals(ground, await ground.trustedSource(), await ramOfSmallMachine());
  }

  /** The name that the next VM will have. */
  get nextName(): string {
    return `vm${this.#count + 1}`;
  }

  /** Closes the connections, and ends whatever a failed test left running: for `afterEach`. */
  async leave(): Promise<void> {
    this.ground.leave();
    for (const run of RunFolder.all(this.ground.home)) {
      const qemu = run.noted()?.qemu;
      if (qemu) await endDaemon(qemu);
      run.remove();
    }
  }

  async close(): Promise<void> {
    await this.ground.close();
  }

  stateOf({ session }: Begun): string | undefined {
    return this.ground.sessions().find((record) => record.session === session)?.state;
  }

  /** A running VM whose offer was accepted, its files sent. */
  async offered({ words = drive, files = [disk], machine = {} }: Shape = {}): Promise<Begun> {
    const name = this.nextName;
    this.#count += 1;
    const vm = new RawRunningVm(name, words, { files, machine });
    const peer = await this.ground.joined(this.source);
    const { laneToken } = await peer.offer(vm.offer());
    const begun = { vm, peer, session: peer.session, run: join(this.ground.home, "run", name) };
    if (files.length > 0) await this.sendFiles(begun, laneToken, vm.chunks());
    return begun;
  }

  async sendFiles({ session }: Begun, laneToken: string, frames: Buffer[]): Promise<void> {
    const lane = await this.ground.connect({ identity: this.source });
    await lane.hello({ role: "lane", session, laneToken }).expect("welcome");
    for (const frame of frames) lane.sendBytes(frame);
    for (let acknowledged = 0; acknowledged < frames.length; ) {
      const { name, payload } = await lane.next();
      expect(name).toBe("ack");
      acknowledged += payload.length / 8;
    }
    lane.close();
  }

  async started(shape?: Shape): Promise<Started> {
    const begun = await this.offered(shape);
    begun.peer.send("start", {});
    return { ...begun, started: await begun.peer.expect("started") };
  }

  /** The same session on a new connection, the `attempt`-th. */
  async again<B extends Begun>(begun: B, attempt = 2): Promise<B> {
    return { ...begun, peer: await this.ground.joined(this.source, begun.session, attempt) };
  }

  async openStream({ vm, session, started }: Started, stream: number): Promise<RawStream> {
    const peer = await this.ground.connect({ identity: this.source });
    return await RawStream.open(peer, stream, { session, tagKey: vm.tagKey, started });
  }

  async sendRam(begun: Started): Promise<SentStream> {
    return (await this.openStream(begun, 0)).send(this.ram).end();
  }

  /** Brings a VM of which all was sent to its end, in which it runs here as it should, and takes it away again. */
  async handOver({ peer, vm, run }: Begun, sent: SentStream[]): Promise<void> {
    peer.send("seal", vm.sealOf(sent));
    await peer.expect("ready");
    expect(processesNaming(run)).toHaveLength(1);
    await peer.send("release", {}).expect("owned");
    await peer.send("confirm", {}).expect("closed");
    expect(readFileSync(join(this.ground.store, vm.name, "a")).equals(disk.content)).toBe(true);
    rmSync(join(this.ground.store, vm.name), { recursive: true });
  }

  /** Cancels where the connection stands, and sees that nothing is left of the session. */
  async expectGone({ peer, session, run }: Begun): Promise<void> {
    if (!peer.isClosed) {
      peer.send("cancel", {});
      await peer.expect("cancelled");
    }
    await until(() => processesNaming(run).length === 0, "the end of what was started");
    await until(() => !existsSync(run) && !this.ground.isStaged(session), "the end of what was staged");
  }

  /** What the VM's QEMU has open, as paths. */
  openFilesOf({ run }: Begun): string[] {
    const pids = processesNaming(run);
    expect(pids).toHaveLength(1);
    return readdirSync(`/proc/${pids[0]}/fd`).flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pids[0]}/fd/${fd}`)];
      } catch {
        return [];
      }
    });
  }
}

/** The migration stream of a machine as the tests offer it, with a disk of its own. */
async function ramOfSmallMachine(): Promise<Buffer> {
  const place = new RunGround();
  try {
    const run = place.run();
    const [file, saved] = [join(place.home, "a"), join(place.home, "ram")];
    writeFileSync(file, disk.content);
    const own = ["-S", "-drive", `file=${file},format=raw,if=virtio`];
    const qmp = ["-qmp", `unix:${run.socket("qmp")},server=on,wait=off`];
    const qemu = await startQemu([...smallMachine, ...own, ...qmp], run);
    const end = qemu.qmp.nextEvent("MIGRATION", ({ data }) => data.status === "completed");
    const capabilities = [{ capability: "events", state: true }];
    await qemu.qmp.execute("migrate-set-capabilities", { capabilities });
    await qemu.qmp.execute("migrate", { uri: `exec:cat > ${saved}` });
    await end;
    await qemu.kill();
    return readFileSync(saved);
  } finally {
    await place.clear();
  }
}
