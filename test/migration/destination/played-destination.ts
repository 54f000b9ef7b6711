/**
 * A destination without sockets and Workers: the test plays the doors, sends what they would receive, and
 * reads the answers.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Identity } from "../../../src/channel/identity.ts";
import { TicketBook } from "../../../src/channel/ticket-book.ts";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import { Destination } from "../../../src/migration/destination/destination.ts";
import { PromisedRoom } from "../../../src/migration/destination/peers/promised-room.ts";
import { PublishedSessions } from "../../../src/migration/destination/published-sessions.ts";
import { Journal, type SessionRecord } from "../../../src/migration/journal/journal.ts";
import { ReceiptKeeper } from "../../../src/migration/receipts/receipt-keeper.ts";
import { FrameDecoder } from "../../../src/protocol/frames.ts";
import { limits } from "../../../src/protocol/limits.ts";
import {
  decodeMessage,
  encodeMessage,
  type Message,
  type MessageBody,
  type MessageName,
} from "../../../src/protocol/messages.ts";
import type { Offer } from "../../../src/protocol/offer.ts";
import { TagTable, vmDigest } from "../../../src/transfer/chunks/tag-table.ts";
import type { ToDoor } from "../../../src/transfer/doors/door-messages.ts";
import type { DoorPool } from "../../../src/transfer/doors/door-pool.ts";
import type { LaneGrant } from "../../../src/transfer/landing/lane-grant.ts";
import { tagsOf } from "../../../src/transfer/landing/read-tags.ts";
import { withDeadline } from "../../support/system/deadline.ts";

export const session = "5e".repeat(16);

/** A VM of one empty disk: whole without a chunk. */
export const emptyOffer: Offer = {
  name: "web1",
  vm: "01234567-89ab-cdef-0123-456789abcdef",
  mode: "move",
  chunkBytes: limits.chunkBytes,
  tagKey: "00".repeat(16),
  files: [{ kind: "ram", name: "ram", bytes: 0, allocatedBytes: 0 }],
};

export function sealOf({ name, files }: Offer): MessageBody<"seal"> {
  const digested = files.map((file) => ({ ...file, digest: new TagTable(file.bytes).digest() }));
  return { digest: vmDigest(name, digested), files: digested.map(({ digest }) => digest) };
}

/** One connection of a source, as far as the destination sees it. */
export class Visit {
  readonly conn: number;
  readonly #destination: Destination;
  readonly #heard: Message[] = [];
  #wake: (() => void) | undefined;
  /** True once the destination has closed it. */
  closed = false;
  /** Bytes that the destination has sent. */
  saidBytes = 0;
  /** True if the source does not read. */
  isUnread = false;
  /** What an admitted lane was granted. */
  grant: LaneGrant | undefined;
  readonly decoder = new FrameDecoder("control", (name, payload) => {
    // What is in them is for others to test.
    if (name !== "inventory") this.#heard.push(decodeMessage(name as MessageName, Buffer.from(payload)));
    this.#wake?.();
  });

  constructor(conn: number, destination: Destination) {
    this.conn = conn;
    this.#destination = destination;
  }

  say<N extends MessageName>(name: N, body: MessageBody<N>): this {
    const payload = new Uint8Array(encodeMessage(name, body).subarray(limits.frameHeaderBytes));
    this.#destination.hear(0, { kind: "frame", conn: this.conn, name, payload });
    return this;
  }

  /** The next message that the destination sends on this connection. */
  async hear(): Promise<Message> {
    while (this.#heard.length === 0) {
      const heard = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await withDeadline(heard, 5000, "an answer of the destination");
    }
    return this.#heard.shift()!;
  }

  /** The names of the next messages; an error by its code. */
  async hearNames(count: number): Promise<string[]> {
    const names: string[] = [];
    for (let i = 0; i < count; i++) {
      const { name, body } = await this.hear();
      names.push(name === "error" ? `error ${(body as MessageBody<"error">).code}` : name);
    }
    return names;
  }

  end(): void {
    this.#destination.hear(0, { kind: "closed", conn: this.conn, error: null });
  }
}

export class PlayedDestination {
  readonly root = mkdtempSync(join(tmpdir(), "migrate-destination-"));
  readonly home = openHome(join(this.root, "home"));
  readonly store = join(this.root, "store");
  /** Called before each durable write with its label. */
  beforeWrite: (label: string) => void = () => {};
  /** The messages of its warnings. */
  readonly warnings: string[] = [];
  readonly journal = Journal.open(
    this.home,
    (when, label) => {
      if (when === "before") this.beforeWrite(label);
    },
    { waitMs: 0 },
  );
  /** The time of this host, if it is not that of the test. */
  nowMs: number | undefined;
  readonly destination: Destination;
  readonly #visits = new Map<number, Visit>();

  /** With an identity it gives receipts to sources that ask for them. */
  constructor(identity: Identity | null = null) {
    openHome(this.store);
    this.destination = new Destination({
      home: this.home,
      receipts: ReceiptKeeper.of({ home: this.home, journal: this.journal, identity }),
      policy: { qemu: null },
      published: new PublishedSessions(this.store),
      lookup: null,
      journal: this.journal,
      store: this.store,
      maxSessions: 8,
      room: new PromisedRoom(),
      observe: (event) => {
        if (event.event === "warning") this.warnings.push(event.message);
      },
      now: () => this.nowMs ?? Date.now(),
      // Trust is tested elsewhere; here every peer is trusted.
      insecure: true,
      tickets: new TicketBook(`sha256:${"0".repeat(64)}`, { monotonicMs: () => performance.now() }),
      trust: () => TrustFile.load(this.home),
      completed: () => {},
      measuring: undefined as never,
    });
    this.destination.doors = {
      post: (_door: number, message: ToDoor) => this.#post(message),
      postAll: () => {},
      barrier: async () => {},
      tagsOf,
    } as unknown as DoorPool;
  }

  /** A control connection that names the session, and has received WELCOME. */
  async visit(
    attempt: number,
    peer = "sha256:source",
    id = session,
    receipts: { seen: number } | null = null,
  ): Promise<Visit> {
    const conn = this.#visits.size + 1;
    const visit = new Visit(conn, this.destination);
    this.#visits.set(conn, visit);
    const exporter = new Uint8Array(0);
    const opened = { conn, peer, exporter, remote: "test", session: id, attempt, receipts };
    this.destination.hear(0, { kind: "control", ...opened });
    await visit.hearNames(1);
    return visit;
  }

  /** A lane that names the session; its `grant` is set if it was admitted. */
  lane(laneToken: string, peer = "sha256:source"): Visit {
    const conn = this.#visits.size + 1;
    const visit = new Visit(conn, this.destination);
    this.#visits.set(conn, visit);
    this.destination.hear(0, { kind: "lane", conn, peer, remote: "test", session, laneToken });
    return visit;
  }

  get record(): SessionRecord | null {
    return this.journal.find(session);
  }

  async close(): Promise<void> {
    for (const visit of this.#visits.values()) visit.end();
    await this.destination.stop();
    // By then, whatever is written when a connection ends is written.
    await new Promise(setImmediate);
    this.journal.close();
    rmSync(this.root, { recursive: true, force: true });
  }

  #post(message: ToDoor): void {
    if (!("conn" in message)) return;
    const visit = this.#visits.get(message.conn);
    if (visit === undefined) return;
    if (message.kind === "flush" && !visit.isUnread)
      this.destination.hear(0, { kind: "flushed", conn: message.conn });
    if (message.kind === "send") visit.saidBytes += message.bytes.length;
    if (message.kind === "send" && !visit.closed && !visit.isUnread)
      visit.decoder.push(Buffer.from(message.bytes));
    if (message.kind === "finish" || message.kind === "destroy") visit.closed = true;
    if (message.kind === "open-lane") visit.grant = message.lane;
  }
}
