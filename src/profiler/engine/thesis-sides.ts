/** The thesis's engine: a source process here, and a destination process here or at another host. */

import type { SuiteName } from "../statistics/samples.ts";
import { SideProcess } from "./side-process.ts";
import type { ProfiledFile, Sides } from "./sides.ts";
import { newSecret } from "./thesis-destination.ts";
import type { MeasuringAddress, RunFigures } from "./thesis-source.ts";

export interface ThesisSidesOptions {
  self: readonly string[];
  /** Reads the files, and sends made-up bytes in their place. */
  hide: boolean;
  /** Finds a destination for a source with this fingerprint. */
  destination: (source: string) => Promise<MeasuringPeer>;
}

/** A destination that waits for runs. */
export interface MeasuringPeer {
  address: MeasuringAddress;
  link: string;
  /** Rejects when the destination is gone. Never resolves. */
  lost: Promise<never>;
  close(): Promise<void>;
}

/** Starts both sides. Throws MigrateError if one of them does not start or is not reached. */
export async function openThesisSides(options: ThesisSidesOptions): Promise<Sides> {
  const source = new SideProcess(options.self, "source");
  let peer: MeasuringPeer | undefined;
  try {
    const { fingerprint, clockCostNs } = await source.ask({ ask: "be-source" });
    peer = await options.destination(fingerprint);
    return new ThesisSides(source, peer, clockCostNs, options.hide);
  } catch (thrown) {
    await Promise.all([source.kill(), peer?.close()]);
    throw thrown;
  }
}

class ThesisSides implements Sides {
  readonly clockCostNs: number;
  readonly #source: SideProcess;
  readonly #peer: MeasuringPeer;
  readonly #hide: boolean;
  #number = 0;

  constructor(source: SideProcess, peer: MeasuringPeer, clockCostNs: number, hide: boolean) {
    this.#source = source;
    this.#peer = peer;
    this.#hide = hide;
    this.clockCostNs = clockCostNs;
  }

  get link(): string {
    return this.#peer.link;
  }

  async run(suite: SuiteName, files: readonly ProfiledFile[]): Promise<RunFigures> {
    const { secret, ...address } = this.#peer.address;
    const asked = this.#source.ask({
      ask: "run",
      address: { ...address, secret: secret.toString("hex") },
      run: {
        number: ++this.#number,
        suite,
        files: files.map(({ path, bytes }) => ({ path, bytes })),
        hide: this.#hide,
      },
    });
    const { figures } = await Promise.race([asked, this.#peer.lost]);
    return figures;
  }

  async close(): Promise<void> {
    await Promise.all([this.#source.kill(), this.#peer.close()]);
  }
}

/**
 * A destination process on this host, which writes into `folder`, ours and empty; `prepare` are the sizes
 * of the files of the largest run. Throws MigrateError.
 */
export async function openLocalPeer(options: {
  self: readonly string[];
  source: string;
  folder: string;
  mostBytes: number;
  prepare: readonly number[];
}): Promise<MeasuringPeer> {
  return openPeerProcess({ ...options, host: "127.0.0.1", port: 0, link: "loopback" });
}

/**
 * A destination process of ours that listens on `host`; `port` is that with TLS, and the one without is the
 * next one (0 takes free ones). Without a folder it discards. Throws MigrateError.
 */
export async function openPeerProcess(options: {
  self: readonly string[];
  host: string;
  port: number;
  source: string;
  folder: string | null;
  mostBytes: number;
  prepare: readonly number[];
  link: string;
}): Promise<MeasuringPeer> {
  const { self, host, link, ...rest } = options;
  const process = new SideProcess(self, "destination");
  const secret = newSecret();
  try {
    const opened = await process.ask({
      ask: "be-destination",
      host,
      ...rest,
      secret: secret.toString("hex"),
    });
    const { fingerprint: destination, port, plainPort } = opened;
    return {
      address: { host, port, plainPort, destination, secret },
      link,
      // A process that dies closes its connections, which the source reports.
      lost: new Promise<never>(() => {}),
      close: () => process.kill(),
    };
  } catch (thrown) {
    await process.kill();
    throw thrown;
  }
}
