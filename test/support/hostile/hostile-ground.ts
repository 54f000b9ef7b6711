/**
 * A destination under attack, in folders of its own: a server that really runs, sources that it
 * trusts, an honest source to see that it goes on serving, and an eye on everything around its store.
 */
import { expect } from "bun:test";
import { createHash } from "node:crypto";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fingerprintOf, makeCertificate } from "../../../src/channel/certificate.ts";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import { Journal, type SessionRecord } from "../../../src/migration/journal/journal.ts";
import { type SendingOptions, sendOnce } from "../moves/sending.ts";
import { type Serving, type ServingOptions, startServing } from "../moves/serving.ts";
import { until } from "../system/until.ts";
import { type RawConnectOptions, type RawIdentity, RawPeer } from "./raw/peer.ts";

/** What a server says to a peer. */
export interface Refusal {
  code: string;
  message: string;
}

export class HostileGround {
  /** Everything of the test lies below this. */
  readonly root: string;
  readonly home: string;
  readonly store: string;
  /** Of the honest source, which the destination trusts. */
  readonly sourceHome: string;
  readonly secure: boolean;
  serving!: Serving & { store: string };
  /** How the honest source sends, beside what it always does. */
  honest: Partial<SendingOptions> = {};
  readonly #peers: RawPeer[] = [];
  #honestSends = 0;
  #stores = 1;

  private constructor(root: string, secure: boolean) {
    this.root = root;
    this.secure = secure;
    this.home = join(root, "destination-home");
    this.store = join(root, "store");
    this.sourceHome = join(root, "source-home");
  }

  static async make(options: Partial<ServingOptions> = {}): Promise<HostileGround> {
    const secure = options.secure ?? true;
    const ground = new HostileGround(mkdtempSync(join(tmpdir(), "migrate-hostile-")), secure);
    mkdirSync(ground.store);
    mkdirSync(join(ground.root, "outside"));
    writeFileSync(join(ground.root, "outside", "canary"), "nobody writes here");
    const serving = await startIndexed({ home: ground.home, store: ground.store, ...options, secure });
    ground.serving = Object.assign(serving, { store: ground.store });
    if (secure) {
      const { fingerprint } = await loadIdentity(openHome(ground.sourceHome));
      await ground.trust(fingerprint);
    }
    return ground;
  }

  get port(): number {
    return this.serving.address.port;
  }

  get ticket(): string {
    return this.serving.ticket!;
  }

  /** Waits until the destination has told its own people this. */
  async hasTold(text: string, { events } = this.serving): Promise<void> {
    const begun = performance.now();
    while (!events.some((event) => JSON.stringify(event).includes(text))) {
      if (performance.now() - begun > 5000) throw new Error(`"${text}" is not in ${JSON.stringify(events)}`);
      await Bun.sleep(5);
    }
  }

  async close(): Promise<void> {
    this.leave();
    await this.serving.stop();
    rmSync(this.root, { recursive: true, force: true });
  }

  /** One more destination of the same host, with a ticket of its own and a store of its own. */
  async another(options: Partial<ServingOptions> = {}): Promise<Serving & { store: string }> {
    const store = join(this.root, `store-${++this.#stores}`);
    mkdirSync(store);
    const serving = await startIndexed({ home: this.home, store, secure: this.secure, ...options });
    return Object.assign(serving, { store });
  }

  /** Lets the destination take VMs from whoever has this fingerprint. */
  async trust(fingerprint: string): Promise<void> {
    await TrustFile.load(openHome(this.home)).add(fingerprint, "source", "a-source");
  }

  async distrust(fingerprint: string): Promise<void> {
    await TrustFile.load(this.home).remove(fingerprint);
  }

  /** A host that the destination takes VMs from. */
  async trustedSource(): Promise<RawIdentity> {
    const identity = await makeIdentity();
    await this.trust(identity.fingerprint);
    return identity;
  }

  async connect(options: Partial<RawConnectOptions> = {}): Promise<RawPeer> {
    const peer = await RawPeer.connect({ port: this.port, tls: this.secure, ...options });
    this.#peers.push(peer);
    return peer;
  }

  /** A control connection of a trusted source, past WELCOME, that speaks for a session. */
  async joined(
    identity: RawIdentity,
    session = newSession(),
    attempt = 1,
  ): Promise<RawPeer & { session: string }> {
    const peer = await this.connect({ identity });
    await peer.join({ session, attempt });
    return Object.assign(peer, { session });
  }

  /** Closes every raw connection, and looks through all that the server said on them. */
  leave(): void {
    const peers = this.#peers.splice(0);
    for (const peer of peers) peer.close();
    for (const peer of peers) {
      for (const { name, payload } of peer.frames) {
        if (name !== "error") continue;
        const text = payload.toString();
        expect(text).not.toContain(this.root);
        expect(text).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
      }
    }
  }

  /** The sessions of the destination's journal. */
  sessions(): SessionRecord[] {
    const journal = Journal.open(this.home);
    try {
      return journal.all("destination");
    } finally {
      journal.close();
    }
  }

  /**
   * Runs an attack and sees that not a byte around or in the store has changed by it (but below
   * `except`, paths from the root), that nothing local was said to the peer, and that the server
   * serves: an honest VM arrives afterwards.
   */
  async withstands(attack: () => Promise<void>, { except = [] as string[] } = {}): Promise<void> {
    const before = this.snapshot(except);
    await attack();
    expect(this.snapshot(except)).toEqual(before);
    this.leave();
    await this.expectServing();
  }

  /** An honest source sends a VM, and it arrives whole. */
  async expectServing(serving = this.serving): Promise<void> {
    const { address, store } = serving;
    const name = `honest${++this.#honestSends}`;
    const ram = join(this.root, `${name}.ram`);
    const bytes = createHash("sha512").update(name).digest();
    writeFileSync(ram, bytes);
    if (this.secure) {
      const { fingerprint } = await loadIdentity(this.home);
      await TrustFile.load(this.sourceHome).add(
        fingerprint,
        "destination",
        `${address.host}:${address.port}`,
      );
    }
    const { error } = await sendOnce({
      home: this.sourceHome,
      vm: { name, ram, disks: [] },
      address,
      secure: this.secure,
      lanes: 1,
      retryForMs: 5000,
      ...this.honest,
    });
    expect(error).toBeUndefined();
    expect(readFileSync(join(store, name, `${name}.ram`)).equals(bytes)).toBe(true);
    rmSync(join(store, name), { recursive: true });
    rmSync(`${ram}.migrated`);
  }

  /** Every file, folder and link below the root with what it holds, but for homes and `except`. */
  snapshot(except: string[] = []): Record<string, string> {
    const entries: Record<string, string> = {};
    const skipped = ["destination-home/journal", "destination-home/trust", "source-home", ...except];
    const walk = (folder: string) => {
      for (const name of readdirSync(join(this.root, folder)).sort()) {
        const path = join(folder, name);
        if (skipped.some((start) => path.startsWith(start))) continue;
        entries[path] = describe(join(this.root, path));
        if (entries[path].startsWith("folder")) walk(path);
      }
    };
    walk("");
    return entries;
  }

  /** Path of a session's staged file. */
  staged(session: string, file: string): string {
    return join(this.store, `.migrate-${session}`, file);
  }

  isStaged(session: string): boolean {
    return existsSync(join(this.store, `.migrate-${session}`));
  }
}

function describe(path: string): string {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) return `link to ${readlinkSync(path)}`;
  if (stat.isSocket()) return `socket ${(stat.mode & 0o7777).toString(8)}`;
  if (stat.isDirectory()) return `folder ${(stat.mode & 0o7777).toString(8)}`;
  return `file ${(stat.mode & 0o7777).toString(8)} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`;
}

/** Serves, and waits until the index is done with its first look: it writes below the home by itself until then. */
async function startIndexed(options: ServingOptions): Promise<Serving> {
  const serving = await startServing(options);
  if (options.secure === true && options.index !== false) {
    await until(() => serving.events.some(({ event }) => event === "indexed"), "the first look of the index");
  }
  return serving;
}

/** A host's certificate and key, made just now. */
export async function makeIdentity(): Promise<RawIdentity> {
  const made = await makeCertificate();
  return { ...made, fingerprint: fingerprintOf(made.certificatePem) };
}

/** An id that no session has. */
export function newSession(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex");
}
