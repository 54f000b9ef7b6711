/**
 * A year of `serve` with 10,000 moves, in about a minute: what it keeps on the disk and in memory has an end, however long it
 * runs. The clock is the test's; it goes on by a ten-thousandth of a year a move.
 *
 * One move of ten is real: over TLS to a serve in a process of its own, from one of some trusted hosts, from HELLO to
 * CLOSED, or up to an offer that is cancelled or that nobody comes back to. Its VM is an empty file, so that no lane is
 * needed: some 20 ms. A whole `migrate send`, with its lanes, takes 100 ms and more, which would be 20 minutes for all of
 * them. The other nine are played into the same home while serve runs: their rows by the
 * journal's own steps (a VM that came, and that left again for another host, with its files deleted), their VM folders
 * into its store, where its index finds them, and, of each fourth, a run folder as a VM that ran leaves it. A VM stays
 * for the time of some 90 moves.
 */
import { expect, test } from "bun:test";
import { randomBytes, randomUUID } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { TrustFile } from "../../src/channel/trust.ts";
import { openHome } from "../../src/home/home.ts";
import { journalKeeps } from "../../src/migration/journal/ended-sessions.ts";
import { Journal, type SessionRecord } from "../../src/migration/journal/journal.ts";
import { recordOfOffer } from "../../src/migration/journal/offer-record.ts";
import { decodeMessage } from "../../src/protocol/messages.ts";
import type { Offer } from "../../src/protocol/offer.ts";
import { isStaged } from "../../src/vm/folder/staging.ts";
import { RunFolder } from "../../src/vm/qemu/run-folder.ts";
import { runKeeps } from "../../src/vm/qemu/run-upkeep.ts";
import { makeIdentity, newSession } from "../support/hostile/hostile-ground.ts";
import { type RawIdentity, RawPeer } from "../support/hostile/raw/peer.ts";
import { RawVm } from "../support/hostile/raw/vm.ts";
import { type Child, startChild } from "../support/system/child.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";
import { until } from "../support/system/until.ts";

const moves = 10_000;
/** One of so many is real. */
const realEvery = 10;
const yearMs = 365 * 24 * 3_600_000;
const firstMs = Date.UTC(2027, 0, 1);
const hosts = 12;
/** VMs that are here at once. */
const stay = 90;
const blocks = 80;
const blockBytes = 64 * 1024;

const one = Buffer.alloc(1, 1);

const mib = 2 ** 20;
/** What may be there at any time of the year. */
const most = {
  journalBytes: 14 * mib,
  /** Rows of what came, and of what left. */
  rows: 2 * journalKeeps.rows,
  openSessions: 8,
  indexBytes: 8 * mib,
  /** Those of the last moves may not have been looked at yet. */
  runFolders: runKeeps.deadFolders + 40,
  /** The VMs that are here, and what is under way. */
  storeEntries: stay + 16,
  rssBytes: 256 * mib,
};
type Found = Record<keyof typeof most, number>;
/** How much more memory serve may have at the end than after two months. */
const mostMoreRssBytes = 48 * mib;

let root: string;
eachTestInFolder("year-", (folder) => {
  root = folder;
});

test("a year of 10,000 moves leaves a journal, run folders, an index and a memory of the same size", async () => {
  const at = new Year(root);
  try {
    await at.start();
    const months: Found[] = [];
    for (let n = 0; n < moves; n += realEvery) {
      await at.real(n);
      at.play(n + 1, realEvery - 1);
      if (n % (moves / 12) >= moves / 12 - realEvery) months.push(at.look());
    }
    await at.rest();
    const end = at.look();
    for (const found of [...months, end]) {
      for (const [what, value] of Object.entries(found) as [keyof Found, number][])
        expect(value, `${what} of ${JSON.stringify(months)}`).toBeLessThanOrEqual(most[what]);
    }
    expect(end.runFolders).toBe(runKeeps.deadFolders);
    expect(end.rssBytes - months[1]!.rssBytes, JSON.stringify(months)).toBeLessThan(mostMoreRssBytes);
  } finally {
    at.close();
  }
}, 300_000);

class Year {
  readonly home: string;
  readonly store: string;
  readonly #clock: string;
  #serve!: Child;
  #port = 0;
  #journal!: Journal;
  readonly #sources: RawIdentity[] = [];
  /** Names of the VMs that are here, the oldest first. */
  readonly #here: string[] = [];

  constructor(folder: string) {
    this.home = openHome(join(folder, "home"));
    this.store = join(folder, "store");
    this.#clock = join(folder, "clock");
    mkdirSync(this.store);
    this.#isAt(0);
  }

  /** Starts serve, which knows the hosts. */
  async start(): Promise<void> {
    const trust = TrustFile.load(this.home);
    for (let n = 0; n < hosts; n++) {
      this.#sources.push(await makeIdentity());
      await trust.add(this.#sources[n]!.fingerprint, "source", `host${n}`);
    }
    const program = join(import.meta.dir, "../support/moves/year/year-serve.ts");
    this.#serve = startChild([process.execPath, program, this.home, this.store, this.#clock]);
    const port = () => /"address":"127\.0\.0\.1:(\d+)"/.exec(this.#serve.stdout())?.[1];
    await until(() => port() !== undefined, "serve to listen", 20_000);
    this.#port = Number(port());
    this.#journal = Journal.open(this.home);
  }

  /** A move over TLS; one of ten is cancelled, and one of twenty is given up by a source that never comes back. */
  async real(n: number): Promise<void> {
    this.#isAt(n);
    const nth = n / realEvery;
    const identity = this.#sources[nth % hosts]!;
    const peer = await RawPeer.connect({ port: this.#port, identity });
    try {
      await peer.join({ session: newSession(), attempt: 1 });
      const vm = new RawVm(`real-${n}`, [{ kind: "disk", name: "a.raw", content: Buffer.alloc(0) }]);
      await peer.offer(vm.offer());
      if (nth % 20 === 7) return;
      if (nth % 10 === 3) {
        await peer.send("cancel", {}).expect("cancelled");
        return;
      }
      await peer.sendJson("seal", vm.seal()).expect("ready");
      await peer.send("release", {}).expect("owned");
      await peer.send("confirm", {}).expect("closed");
      this.#arrived(vm.name);
    } finally {
      peer.close();
    }
  }

  /** Plays so many moves from the n-th on, in one write. */
  play(n: number, count: number): void {
    const peer = this.#sources[n % hosts]!.fingerprint;
    const nowMs = this.#isAt(n + count);
    const came: string[] = [];
    this.#journal.write("played", () => {
      for (let i = n; i < n + count; i++) {
        came.push(this.#comes(i, peer));
        this.#leaves(i, peer);
      }
    });
    // As serve does when a session has ended.
    this.#journal.prune(nowMs, isStaged, peer);
    for (const name of came) this.#arrived(name);
  }

  /** Waits until serve has looked at all of it once more. */
  async rest(): Promise<void> {
    const scans = () => this.#serve.stdout().split('"event":"indexed"').length;
    const before = scans();
    await this.real(moves);
    await until(() => scans() > before, "the index to be done", 30_000);
    const folders = () => RunFolder.all(this.home).length;
    await until(() => folders() <= runKeeps.deadFolders, "the run folders to go", 30_000);
  }

  /** What is there now. */
  look(): Found {
    const bytes = (path: string) =>
      ["", "-wal", "-shm"].reduce(
        (sum, suffix) => sum + (statSync(path + suffix, { throwIfNoEntry: false })?.size ?? 0),
        0,
      );
    const index = readdirSync(join(this.home, "index")).filter((name) => name.endsWith(".sqlite"));
    const status = readFileSync(`/proc/${this.#serve.pid}/status`, "utf8");
    return {
      journalBytes: bytes(join(this.home, "journal.sqlite")),
      indexBytes: index.reduce((sum, name) => sum + bytes(join(this.home, "index", name)), 0),
      runFolders: RunFolder.all(this.home).length,
      rssBytes: Number(/^VmRSS:\s*(\d+) kB/m.exec(status)![1]) * 1024,
      rows: this.#journal.all().length,
      openSessions: this.#journal.open().length,
      storeEntries: readdirSync(this.store).length,
    };
  }

  close(): void {
    this.#journal?.close();
  }

  /** A VM came from that peer: its rows, its folder, and what is left of its QEMU. Returns its name. */
  #comes(n: number, peer: string): string {
    const name = `vm-${n}`;
    const session = newSession();
    const nowMs = this.#isAt(n);
    const offer = decodeMessage(
      "offer",
      Buffer.from(JSON.stringify(new RawVm(name, [{ kind: "disk", name: "a.raw", content: one }]).offer())),
    ).body as Offer;
    const origin = { peer, address: "192.0.2.1:7600", attempt: 1, store: this.store, nowMs, bytes: 1 };
    this.#journal.insert(recordOfOffer(session, offer, { ...origin, kept: null }));
    const step = (from: "receiving" | "ready" | "owner", to: "ready" | "owner" | "closed", change = {}) =>
      this.#journal.step(session, { side: "destination", from, to }, { ...change, updatedAtMs: nowMs });
    step("receiving", "ready", { digest: `sha256:${randomBytes(32).toString("hex")}` });
    step("ready", "owner");
    step("owner", "closed", { endedAtMs: nowMs, settled: true });
    this.#makeFolder(name);
    if (n % 4 === 0) this.#leaveRunFolder(name, session, nowMs);
    return name;
  }

  /** A VM was sent from here to that peer, and its files deleted. */
  #leaves(n: number, peer: string): void {
    const session = newSession();
    const nowMs = this.#isAt(n);
    const record: SessionRecord = {
      ...{ session, side: "source", name: `vm-${n}`, vm: randomUUID(), mode: "move", peer },
      ...{ address: "192.0.2.1:7600", state: "sending", phase: "begin", attempt: 1 },
      tagKey: randomBytes(16).toString("hex"),
      files: [{ kind: "disk", name: "a.raw", bytes: 1, path: `/srv/vms/vm-${n}/a.raw`, identity: "1:2:3:4" }],
      ...{ folder: null, store: null, after: "delete", digest: null, bytes: 1, doneBytes: 0, wireBytes: 0 },
      ...{ provider: "files", kept: null, release: null, settled: false, acknowledged: false },
      ...{ createdAtMs: nowMs, updatedAtMs: nowMs, endedAtMs: null },
    };
    this.#journal.insert(record);
    this.#journal.step(session, { side: "source", from: "sending", to: "released" }, {});
    this.#journal.step(
      session,
      { side: "source", from: "released", to: "confirmed" },
      { settled: true, acknowledged: true, endedAtMs: nowMs },
    );
  }

  /** A disk of blocks that no other has, most of each a hole. */
  #makeFolder(name: string): void {
    const folder = join(this.store, name);
    mkdirSync(folder);
    const fd = openSync(join(folder, "a.raw"), "wx");
    for (let block = 0; block < blocks; block++)
      writeSync(fd, `${name} ${block}`, block * blockBytes, "latin1");
    closeSync(fd);
  }

  /** It is made elsewhere: of the journal's new rows serve does not know yet, and its clock is ahead of the files'. */
  #leaveRunFolder(name: string, session: string, nowMs: number): void {
    const made = RunFolder.at(`${this.home}-aside`, name);
    made.make(session);
    // A process that is no more.
    made.note("qemu", { pid: 2 ** 22, startTicks: 1 });
    writeFileSync(join(made.path, "qemu.log"), "it has ended\n");
    utimesSync(made.path, nowMs / 1000, nowMs / 1000);
    mkdirSync(join(this.home, "run"), { recursive: true });
    renameSync(made.path, join(this.home, "run", name));
  }

  /** One more VM is here; the oldest leaves. */
  #arrived(name: string): void {
    expect(existsSync(join(this.store, name))).toBe(true);
    this.#here.push(name);
    if (this.#here.length > stay) rmSync(join(this.store, this.#here.shift()!), { recursive: true });
  }

  #isAt(n: number): number {
    const nowMs = Math.round(firstMs + (n / moves) * yearMs);
    writeFileSync(this.#clock, `${nowMs}`);
    return nowMs;
  }
}
