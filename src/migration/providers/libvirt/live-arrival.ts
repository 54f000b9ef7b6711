/**
 * A domain that arrives while it runs: this host's libvirtd prepares it, behind a gate that lets the source say nothing
 * but what such a move needs, and has it stand there, paused, until this host owns it.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, lchownSync, lstatSync, mkdirSync, readlinkSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { freeBytes } from "../../../platform/files/filesystem.ts";
import { isEnding } from "../../../platform/process-id.ts";
import { UnixListener } from "../../../platform/unix-listener.ts";
import { MigrateError } from "../../../protocol/errors.ts";
import { limits } from "../../../protocol/limits.ts";
import type { MessageBody } from "../../../protocol/messages.ts";
import { ArrivingStreams } from "../../../transfer/doors/arriving-streams.ts";
import { storeFailure } from "../../../transfer/landing/store-failure.ts";
import { domainProcess } from "../../../vm/libvirt/domain-process.ts";
import { type DestinationEvent, DestinationGate } from "../../../vm/libvirt/rpc/destination-gate.ts";
import { GateRelay } from "../../../vm/libvirt/rpc/gate-relay.ts";
import { WaitingVirsh } from "../../../vm/libvirt/waiting-virsh.ts";
import { makeBlankImage } from "../../../vm/qemu/images/blank-image.ts";
import type { Arrival } from "../arrival.ts";
import type { StreamedPart } from "../departure.ts";
import { NeverRan } from "../never-ran.ts";
import type { ArrivingDomainOptions } from "./arriving-domain.ts";
import { presentOf, readBoth, toldCards, xmlIn } from "./arriving-xml.ts";
import { cutLinks } from "./card-links.ts";
import { landRunning, passable } from "./landing.ts";
import { configOf, forPeer, type LibvirtConfig } from "./landing-host.ts";
import { arrivalFolder, forgetDomain, type Landing, runFolder } from "./landing-place.ts";
import { domainStreams } from "./live-departure.ts";
import { liveLink, pointLink } from "./live-link.ts";

/** With less than that a disk is full: QEMU asks for no more at once (qcow2, block-layer requests). */
const noRoomBytes = 2 * 2 ** 20;
/** How long libvirt may take to have the domain there once all of it came. */
const finishMs = 30_000;
/** How long the source's libvirtd may take to call. */
const callMs = 2 ** 31 - 1;

export class LiveArrival implements Arrival {
  readonly isLive = true;
  readonly hasStreams = true;
  readonly #options: ArrivingDomainOptions;
  #instance: string | undefined;
  #token = "";
  #streams: ArrivingStreams | undefined;
  #relay: GateRelay<DestinationEvent> | undefined;
  #finished = Promise.withResolvers<void>();
  #aborted = new AbortController();
  /** Its QEMU listens, and nobody can put anything else there. */
  #prepared = false;
  /** libvirt has all of the domain. */
  #whole = false;
  #over = false;
  /** It was asked to go on: it may have run since. */
  #resumed = false;
  /** Has it go on at once, when the time has come. */
  #resumer: WaitingVirsh | undefined;

  constructor(options: ArrivingDomainOptions) {
    this.#options = options;
    this.#finished.promise.catch(() => {});
  }

  get cards(): Arrival["cards"] {
    return toldCards(this.#options.domain, this.#config.netMap);
  }

  get patienceMs(): number {
    return this.#options.domain.live!.patienceMs;
  }

  get streamed(): readonly StreamedPart[] {
    const { offered } = this.#options;
    const bytes = offered.files.reduce((rest, file) => rest - file.bytes, offered.bytes);
    return [{ name: "disks, RAM", bytes, atMost: true }];
  }

  get streams(): ArrivingStreams | undefined {
    return this.#streams;
  }

  get #config(): LibvirtConfig {
    const { policy, home } = this.#options;
    return policy ?? configOf(home);
  }

  get #landing(): Landing {
    const { offered, domain, staging } = this.#options;
    const folder = join(staging.store, offered.name);
    return { name: offered.name, folder, domain, store: staging.store, session: offered.session };
  }

  async start(): Promise<MessageBody<"started">> {
    if (this.#streams === undefined) {
      try {
        await this.end();
        this.#over = false;
        await this.#begin();
      } catch (thrown) {
        await this.end();
        throw forPeer(thrown, "the destination's libvirt cannot take the VM in");
      }
    }
    return { instance: this.#instance!, streamToken: this.#token, zstd: true, images: true };
  }

  async #begin(): Promise<void> {
    const { offered, domain, staging, doors } = this.#options;
    const { netMap, host } = this.#config;
    const live = domain.live!;
    const present = presentOf(readBoth(domain));
    // It was free when it was offered, which may be long ago.
    await host.requireFree(present);
    this.#finished = Promise.withResolvers<void>();
    this.#finished.promise.catch(() => {});
    this.#aborted = new AbortController();
    try {
      for (const disk of live.disks) {
        rmSync(join(staging.folder, disk.name), { force: true });
        await makeBlankImage(join(staging.folder, disk.name), disk);
      }
      if (live.nvram !== undefined) {
        rmSync(join(staging.folder, live.nvram.name), { force: true });
        await makeBlankImage(join(staging.folder, live.nvram.name), {
          format: "raw",
          bytes: live.nvram.bytes,
        });
      }
    } catch (thrown) {
      throw storeFailure(thrown);
    }
    chmodSync(staging.folder, passable);
    // QEMU finds its files by one path, before the folder has its final name and afterwards.
    const link = liveLink(this.#landing);
    if (!this.#isOwnLink(link)) {
      throw new MigrateError("policy", "the session's id is too much like another one's", {
        side: "destination",
      });
    }
    pointLink(link, staging.folder);
    const folder = await this.#makeFolder();
    const paths = {
      ram: join(folder, "qemu", "ram"),
      disk: join(folder, "qemu", "disk"),
      rpc: join(folder, "rpc"),
    };
    const gate = new DestinationGate({
      name: present.name,
      uuid: present.uuid,
      xml: xmlIn(link, present, netMap, { fromStream: true }),
      migrateUri: `unix://${paths.ram}`,
      disksUri: `unix://${paths.disk}`,
      disks: live.disks.map(({ target }) => target),
    });
    const listener = UnixListener.listen(paths.rpc);
    void GateRelay.accept(
      listener,
      host.socketPath,
      { gate, onEvent: (event) => this.#heard(event, join(folder, "qemu"), paths) },
      { timeoutMs: callMs, signal: this.#aborted.signal },
    )
      .then(async (relay) => {
        this.#relay = relay;
        const refused = await relay.ended;
        this.#finished.reject(refused ?? gone());
        if (!this.#over && !this.#whole) this.#failed(refused ?? gone());
      })
      .catch((cause: unknown) => {
        if (this.#over) return;
        const what = "the destination's libvirt cannot be reached";
        this.#options.failed(new MigrateError("libvirt-failed", what, { side: "destination", cause }));
      });
    this.#instance = randomBytes(16).toString("hex");
    this.#token = randomBytes(16).toString("hex");
    this.#streams = new ArrivingStreams({
      session: offered.session,
      peer: offered.peer,
      instance: this.#instance,
      token: this.#token,
      tagKey: Buffer.from(offered.tagKey, "hex"),
      doors: doors!,
      path: (stream) => {
        if (stream === domainStreams.rpc) return paths.rpc;
        // Whoever opens them before is told of nothing that could stand there yet.
        if (!this.#prepared) return null;
        if (stream === domainStreams.ram) return paths.ram;
        const n = stream - limits.ramStreams;
        return n >= 0 && n < live.disks.length ? paths.disk : null;
      },
      failed: (error) => {
        // What the two libvirtd say to each other ends when they part.
        if (!this.#whole) this.#failed(error);
      },
      received: (wireBytes, handedOnBytes, stream) =>
        this.#options.received(wireBytes, handedOnBytes, stream < limits.ramStreams ? 0 : handedOnBytes),
    });
  }

  #heard(event: DestinationEvent, qemuFolder: string, paths: { ram: string; disk: string }): void {
    switch (event.kind) {
      case "prepared": {
        // Its QEMU listens; nothing is put in the place of its sockets from now on.
        lchownSync(qemuFolder, 0, 0);
        const { length } = this.#options.domain.live!.disks;
        if ([paths.ram, ...(length === 0 ? [] : [paths.disk])].every(isSocket)) {
          this.#prepared = true;
          if (this.#options.domain.state === "running") {
            this.#resumer = new WaitingVirsh(this.#config.host.virsh);
          }
          break;
        }
        // A link would lead the doors, which are root's, wherever another QEMU of libvirt's user wanted them.
        const what = "the destination's QEMU has something else than sockets where it should listen";
        this.#options.failed(new MigrateError("libvirt-failed", what, { side: "destination" }));
        break;
      }
      case "finished":
        if (event.domain) this.#finished.resolve();
        else this.#finished.reject(gone());
        break;
      case "failed":
        this.#failed(
          new MigrateError("libvirt-failed", "the destination's libvirt cannot take the VM in", {
            side: "destination",
            hint: event.message,
          }),
        );
        break;
    }
  }

  /** Neither libvirt says why a disk could not be written. */
  #failed(error: MigrateError): void {
    const { offered, staging, failed } = this.#options;
    const isFull = existsSync(staging.folder) && freeBytes(staging.folder) < noRoomBytes;
    const said = `no room is left for the disks of ${offered.name} on the destination's disk`;
    const hint = "make room there, then run the same command again";
    failed(isFull ? new MigrateError("no-room", said, { side: "destination", hint, cause: error }) : error);
  }

  /** A folder into which libvirt's QEMU may put its sockets, and nobody else. Throws MigrateError and as node:fs does. */
  async #makeFolder(): Promise<string> {
    const uid = await this.#config.host.qemuUser();
    mkdirSync(runFolder, { recursive: true, mode: 0o711 });
    const stat = lstatSync(runFolder);
    if (!stat.isDirectory() || stat.uid !== 0 || (stat.mode & 0o022) !== 0) {
      throw new MigrateError("home-unusable", `${runFolder} is not root's own folder`, {
        side: "destination",
      });
    }
    const folder = arrivalFolder(this.#landing);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { mode: 0o711 });
    mkdirSync(join(folder, "qemu"), { mode: 0o711 });
    lchownSync(join(folder, "qemu"), uid, 0);
    return folder;
  }

  async seal({ streams: sent = [] }: Pick<MessageBody<"seal">, "streams">): Promise<void> {
    const { domain, staging } = this.#options;
    const streams = this.#streams;
    if (streams === undefined)
      throw new MigrateError("in-doubt", "libvirt was not told of the VM here", { side: "destination" });
    const expected = [domainStreams.ram, ...domain.live!.disks.map((_, n) => domainStreams.disk(n))];
    await streams.allEnded(expected, finishMs);
    const got = new Map(streams.results().map((result) => [result.stream, result]));
    const said = new Map(sent.map((result) => [result.stream, result]));
    if (said.size !== expected.length || sent.length !== expected.length)
      throw new MigrateError("protocol", "the seal names other streams than there are");
    for (const stream of expected) {
      const [ours, theirs] = [got.get(stream), said.get(stream)];
      if (ours !== undefined && ours.bytes === theirs?.bytes && ours.digest === theirs.digest) continue;
      throw new MigrateError(
        "integrity",
        "a stream of the running VM differs between source and destination",
        {
          side: "destination",
        },
      );
    }
    await Promise.race([
      this.#finished.promise,
      Bun.sleep(finishMs).then(() => {
        throw gone();
      }),
    ]);
    // Whether a card's link is up came with its state.
    await cutLinks(presentOf(readBoth(domain)), this.#config).catch((thrown: unknown) => {
      throw forPeer(thrown, "the destination's libvirt cannot cut a network card off");
    });
    for (const { name } of domain.live!.disks) {
      const file = await open(join(staging.folder, name), "r+");
      await file.sync().finally(() => file.close());
    }
    // The source ends its own as soon as it hears that this one is ready.
    const qemu = domainProcess(this.#options.offered.name);
    if (qemu === null || isEnding(qemu)) throw gone();
    this.#whole = true;
  }

  /** Throws NeverRan if its QEMU is gone. */
  async checkReady(): Promise<void> {
    const qemu = domainProcess(this.#options.offered.name);
    if (qemu !== null && !isEnding(qemu)) return;
    throw new NeverRan("the destination's libvirt does not have the VM any more");
  }

  relink(folder: string): void {
    pointLink(liveLink(this.#landing), folder);
  }

  async resume(sure: boolean): Promise<void> {
    const isFirst = !this.#resumed;
    this.#resumed = true;
    const { uuid } = presentOf(readBoth(this.#options.domain));
    const atOnce = async () => (await this.#resumer?.run(["resume", "--domain", uuid])) === true;
    try {
      await landRunning(this.#landing, this.#config, sure && this.#whole && isFirst ? atOnce : undefined);
    } catch (thrown) {
      throw forPeer(thrown, "the destination's libvirt could not take the VM over");
    }
  }

  leave(): void {
    this.#over = true;
    this.#prepared = false;
    this.#streams?.drop();
    this.#streams = undefined;
    this.#relay?.close();
    this.#resumer?.close();
    this.#resumer = undefined;
    this.#aborted.abort();
    // Another process may have made it, and died.
    rmSync(arrivalFolder(this.#landing), { recursive: true, force: true });
  }

  async end(): Promise<void> {
    this.leave();
    this.#whole = false;
    this.#instance = undefined;
    try {
      await forgetDomain(this.#landing, this.#config);
    } catch (thrown) {
      throw forPeer(thrown, "the destination's libvirt could not let the VM go");
    }
    const link = liveLink(this.#landing);
    if (this.#isOwnLink(link)) rmSync(link, { force: true });
  }

  /** A source chooses the ids of its sessions, and only a part of one is in the link's name. */
  #isOwnLink(link: string): boolean {
    const stat = lstatSync(link, { throwIfNoEntry: false });
    if (stat === undefined) return true;
    const own = [this.#options.staging.folder, this.#landing.folder];
    return stat.isSymbolicLink() && own.includes(readlinkSync(link));
  }
}

function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true;
}

function gone(): MigrateError {
  return new MigrateError("libvirt-failed", "the destination's libvirt does not have the VM", {
    side: "destination",
  });
}
