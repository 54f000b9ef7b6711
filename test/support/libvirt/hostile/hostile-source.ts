/**
 * A libvirt host that takes in domains with the compiled binary, and a source that it trusts and should not: its offers,
 * its sessions and its streams are made by hand. An eye on all that libvirt, the store and /run have afterwards.
 */
import { expect } from "bun:test";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TrustFile } from "../../../../src/channel/trust.ts";
import { openHome } from "../../../../src/home/home.ts";
import { limits } from "../../../../src/protocol/limits.ts";
import { decodeMessage, type MessageBody, type MessageName } from "../../../../src/protocol/messages.ts";
import { offeredXml } from "../../../../src/vm/libvirt/definition/offered-domain.ts";
import { readDomain } from "../../../../src/vm/libvirt/definition/read-domain.ts";
import { type Packet, PacketCutter } from "../../../../src/vm/libvirt/rpc/packet.ts";
import { makeIdentity, newSession } from "../../hostile/hostile-ground.ts";
import { type RawIdentity, RawPeer } from "../../hostile/raw/peer.ts";
import { RawStream } from "../../hostile/raw/running-vm.ts";
import { type RawFile, RawVm } from "../../hostile/raw/vm.ts";
import { builtBinary, type MigrateProcess, runMigrate } from "../../system/process.ts";
import { until } from "../../system/until.ts";
import { LibvirtHost, type LibvirtHostOptions } from "../libvirt-host.ts";
import { framesOf } from "./hostile-files.ts";

export interface Made {
  name?: string;
  uuid?: string;
  /** Of `devices`, beside the disk "a". */
  devices?: string;
  /** Of `os`. */
  os?: string;
  /** Of `domain`. */
  elements?: string;
  disk?: string;
  machine?: string;
  arch?: string;
}

export const diskA = `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/vms/a'/><target dev='vda' bus='virtio'/></disk>`;
export const cardOf = (mac: string) =>
  `<interface type='user'>${mac === "" ? "" : `<mac address='${mac}'/>`}<model type='virtio'/></interface>`;

/** The XML of a small domain that keeps to the rules, in the form in which it is offered; its files keep their names. */
export function offeredDomain({
  name = "vm1",
  uuid = randomUUID(),
  devices = "",
  os = "",
  elements = "",
  disk = diskA,
  machine = "pc",
  arch = "x86_64",
}: Made = {}): string {
  const { domain, refusals } = readDomain(`<domain type='qemu'><name>${name}</name><uuid>${uuid}</uuid>
    <memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type arch='${arch}' machine='${machine}'>hvm</type>${os}</os>
    ${elements}<devices>${disk}${devices}<memballoon model='none'/></devices></domain>`);
  if (domain === null) throw refusals[0];
  const paths: Record<string, string | null | undefined> = {
    nvram: domain.firmware.nvram,
    kernel: domain.kernel,
    initrd: domain.initrd,
  };
  return offeredXml(domain, (place) => {
    const path =
      place.kind === "disk"
        ? domain.disks.find(({ target }) => target === place.target)?.path
        : paths[place.kind];
    return path!.slice(path!.lastIndexOf("/") + 1);
  });
}

export interface DomainOffer {
  name: string;
  vm: string;
  files: Record<string, unknown>[];
  domain: Record<string, unknown>;
  [field: string]: unknown;
}

/** Where the destination has what is its own; no offer says any of it. */
const ownPlaces = /\/tmp\/|\/run\/|\/var\/lib\/|\/usr\/bin|qemu:\/\/\//;
const MiB = 2 ** 20;
const patienceMs = 60_000;

/** A live domain with the disk "a" of 1 MiB, or as `made` says; `change` is done to the offer. */
export function liveOffer(made: Made = {}, change: (offer: DomainOffer) => void = () => {}): DomainOffer {
  const uuid = made.uuid ?? randomUUID();
  const active = offeredDomain({ ...made, uuid });
  const disk = { target: "vda", name: "a", format: "raw", bytes: MiB, allocatedBytes: 0 };
  const offer = new RawVm(made.name ?? "vm1", []).offer({ vm: uuid, provider: "libvirt" });
  const domain = {
    defined: active,
    active,
    state: "running",
    autostart: false,
    live: { disks: made.disk === "" ? [] : [disk], patienceMs: 60_000 },
  };
  const whole = { ...offer, domain } as unknown as DomainOffer;
  change(whole);
  return whole;
}

/** A session of a domain that was let in. */
export interface LetIn {
  peer: RawPeer;
  session: string;
  offer: DomainOffer;
  laneToken: string;
}

export class HostileSource {
  serve!: MigrateProcess;
  readonly #sessions: string[] = [];
  readonly #peers: RawPeer[] = [];
  #libvirtd: number | undefined;
  #domains = "";

  private constructor(
    readonly folder: string,
    readonly host: LibvirtHost,
    readonly identity: RawIdentity,
  ) {}

  static async make(options: LibvirtHostOptions = {}): Promise<HostileSource> {
    // Short: the paths of sockets have at most 107 bytes.
    const folder = mkdtempSync(join(tmpdir(), "lv-"));
    const host = await LibvirtHost.start(folder, "hostb", options);
    const made = new HostileSource(folder, host, await makeIdentity());
    await TrustFile.load(openHome(made.home)).add(made.identity.fingerprint, "source", "a-source");
    mkdirSync(made.store);
    await made.startServing();
    return made;
  }

  get home(): string {
    return join(this.folder, "home");
  }

  get store(): string {
    return join(this.folder, "store");
  }

  async startServing(): Promise<void> {
    const words = ["serve", "--listen", "127.0.0.1:0", "--store", this.store, "--libvirt", "--json"];
    this.serve = runMigrate(words, { home: this.home, binary: this.host.command([builtBinary]) });
    await this.serve.waitFor("listening");
  }

  /** Notes what libvirt has: `expectNothingLeft` compares with it. */
  async note(): Promise<void> {
    this.#libvirtd = this.host.libvirtdPid();
    this.#domains = await this.#seen();
  }

  async connect(): Promise<RawPeer> {
    const { address } = await this.serve.waitFor("listening");
    const port = Number(address.slice(address.lastIndexOf(":") + 1));
    const peer = await RawPeer.connect({ port, identity: this.identity });
    this.#peers.push(peer);
    return peer;
  }

  async joined(session = newSession(), attempt = 1): Promise<RawPeer & { session: string }> {
    this.#sessions.push(session);
    const peer = await this.connect();
    await peer.join({ session, attempt });
    return Object.assign(peer, { session });
  }

  /** What the destination answers to an offer that it refuses. */
  async refusalOf(offer: unknown): Promise<{ code: string; message: string }> {
    const peer = await this.joined();
    return await errorOn(peer.sendJson("offer", offer));
  }

  async letIn(offer = liveOffer(), session = newSession()): Promise<LetIn> {
    const peer = await this.joined(session);
    const { laneToken } = await answerOn(peer.sendJson("offer", offer), "accept");
    return { peer, session, offer, laneToken };
  }

  /** A session whose libvirtd is behind its gate. */
  async started(offer = liveOffer(), session = newSession()): Promise<Started> {
    const begun = await this.letIn(offer, session);
    return { ...begun, started: await answerOn(begun.peer.send("start", {}), "started") };
  }

  async stream(begun: Started, stream: number): Promise<RawStream> {
    return await this.#stream(begun, stream, await this.connect());
  }

  async rpc(begun: Started): Promise<Rpc> {
    const peer = await this.connect();
    return new Rpc(peer, await this.#stream(begun, 1, peer));
  }

  async #stream({ session, offer, started }: Started, stream: number, peer: RawPeer): Promise<RawStream> {
    return await RawStream.open(peer, stream, { session, tagKey: String(offer.tagKey), started });
  }

  /** Sends the files of an offer, and says SEAL. */
  async seal({ peer, session, offer, laneToken }: LetIn, files: readonly RawFile[]): Promise<void> {
    const { frames, seal } = framesOf(offer.name, String(offer.tagKey), files);
    const lane = await this.connect();
    await lane.hello({ role: "lane", session, laneToken }).expect("welcome");
    await lane.sendChunks(frames);
    lane.close();
    peer.send("seal", seal);
  }

  /** Gives the session up, unless the destination does so first; on a new connection where the old one is closed. */
  async cancel({ peer, session }: Pick<LetIn, "peer" | "session">): Promise<void> {
    const hasFailed = () => peer.isClosed || peer.frames.some(({ name }) => name === "error");
    const open = hasFailed() ? await this.joined(session, 2) : peer;
    open.send("cancel", {});
    const isOver = () => open.frames.some(({ name }) => name === "cancelled" || name === "error");
    await until(isOver, `the end of the session; so far ${open.describe()}`, patienceMs);
  }

  /** Waits until nothing of any session is left, and throws (by `expect`) where something else has changed. */
  async expectNothingLeft(): Promise<void> {
    await until(async () => (await this.#seen()) === this.#domains, "libvirt to have what it had");
    const staged = () => readdirSync(this.store).filter((name) => name !== ".migrate-lock");
    await until(() => staged().length === 0, "the store to be empty");
    const sockets = this.host.outside("/run/migrate");
    const run = () => this.#sessions.filter((session) => existsSync(join(sockets, session)));
    await until(() => run().length === 0, "the folders of sockets to be gone");
    expect(this.host.libvirtdPid()).toBe(this.#libvirtd!);
    expect(this.host.processes().filter((pid) => isQemu(pid))).toEqual([]);
    this.leave();
    await this.joined();
    this.leave();
  }

  /** Closes what was opened, and looks through all that the destination said: nothing of its host. */
  leave(): void {
    for (const peer of this.#peers.splice(0)) {
      peer.close();
      for (const { name, payload } of peer.frames) {
        if (name === "error") expect(payload.toString()).not.toMatch(ownPlaces);
      }
    }
    this.#sessions.splice(0);
  }

  async close(): Promise<void> {
    this.leave();
    await this.serve.kill();
    await this.host.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Names, states and definitions of all domains. */
  async #seen(): Promise<string> {
    const list = await this.host.virsh("list", "--all");
    const names = (await this.host.virsh("list", "--all", "--name"))
      .split("\n")
      .filter((name) => name !== "");
    const xmls = await Promise.all(
      names.map(async (name) => (await this.host.tryVirsh("dumpxml", "--inactive", name)).stdout),
    );
    return [list, ...xmls].join("\n");
  }
}

export type Started = LetIn & { started: MessageBody<"started"> };

function isQemu(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes("-incoming");
  } catch {
    return false;
  }
}

/** The answer of that name, whatever came before it; libvirt and QEMU take their time. Throws what came in its place. */
export async function answerOn<N extends MessageName>(peer: RawPeer, name: N): Promise<MessageBody<N>> {
  const found = () => peer.frames.find((frame) => frame.name === name || frame.name === "error");
  await until(() => found() !== undefined || peer.isClosed, `${name}; so far ${peer.describe()}`, patienceMs);
  const frame = found();
  if (frame?.name !== name) throw new Error(`wanted ${name}, got ${peer.describe()}`);
  return decodeMessage(name, frame.payload).body as MessageBody<N>;
}

/** The error that comes. */
export async function errorOn(peer: RawPeer): Promise<{ code: string; message: string }> {
  return (await answerOn(peer, "error")) as { code: string; message: string };
}

/** What the two libvirtd say to each other, with a source at this end that says what it likes. */
export class Rpc {
  readonly #cutter = new PacketCutter();
  readonly #packets: Packet[] = [];
  #looked = 0;

  constructor(
    readonly peer: RawPeer,
    readonly stream: RawStream,
  ) {}

  send(bytes: Uint8Array): this {
    this.stream.send(Buffer.from(bytes));
    return this;
  }

  /** The next packet that comes back. Rejects where the stream ends first. */
  async answer(): Promise<Packet> {
    for (;;) {
      const packet = this.#packets.shift();
      if (packet !== undefined) return packet;
      const { frames } = this.peer;
      await until(
        () => frames.length > this.#looked || this.peer.isClosed,
        "an answer of libvirt's",
        patienceMs,
      );
      const frame = frames[this.#looked++];
      if (frame === undefined) throw new Error(`the stream has ended: ${this.peer.describe()}`);
      const { name, payload } = frame;
      if (name !== "data") {
        if (name === "error" || name === "dataEnd") throw new Error(`${name}: ${payload}`);
        continue;
      }
      for (const whole of this.#cutter.take(payload.subarray(limits.dataHeaderBytes)))
        this.#packets.push({ ...whole, payload: whole.payload.slice() });
    }
  }

  async call(bytes: Uint8Array): Promise<Packet> {
    return await this.send(bytes).answer();
  }
}
