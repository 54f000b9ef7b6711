/** `migrate serve`: opens the doors, and waits for sources. */
import { closeSync, constants, openSync } from "node:fs";
import { join, resolve } from "node:path";
import { loadHostIdentity } from "../../attestation/host-identity.ts";
import type { ListenAddress } from "../../channel/address.ts";
import type { HeartbeatTiming } from "../../channel/control-link.ts";
import { TicketBook } from "../../channel/ticket-book.ts";
import { TrustFile } from "../../channel/trust.ts";
import { steadyClock } from "../../channel/trusted/steady-clock.ts";
import { openHome } from "../../home/home.ts";
import { tryFlock } from "../../platform/files/locks.ts";
import { LineListener } from "../../platform/line-socket.ts";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import { software } from "../../protocol/software.ts";
import { DoorPool } from "../../transfer/doors/door-pool.ts";
import { IndexKeeper } from "../../transfer/reuse/store/index-keeper.ts";
import { checkStore } from "../../vm/folder/store.ts";
import { Journal, type WriteHook } from "../journal/journal.ts";
import { allCaredFor } from "../providers/after-care.ts";
import { openLibvirt } from "../providers/libvirt/open-libvirt.ts";
import type { DeliveryPlace } from "../providers/provider.ts";
import { deliveryPlaces, upkeepOfProviders } from "../providers/providers.ts";
import type { QemuPolicy } from "../providers/qemu/arriving-command.ts";
import { ReceiptKeeper } from "../receipts/receipt-keeper.ts";
import { TpmWitness } from "../receipts/tpm-witness.ts";
import type { Observer } from "../report/events.ts";
import { Destination } from "./destination.ts";
import { Measuring, type StartMeasuring } from "./measuring.ts";
import type { Attesting } from "./peers/destination-gate.ts";
import { IdleWatch } from "./peers/idle-watch.ts";
import { PromisedRoom } from "./peers/promised-room.ts";
import { SourceTerms } from "./peers/source-terms.ts";
import { PublishedSessions } from "./published-sessions.ts";
import { recover, tellOtherStores } from "./recovery.ts";
import { type Announcement, announcementOf } from "./serving/announcement.ts";
import { openControlSocket } from "./serving/control-socket.ts";
import type { About, Answer, Question } from "./serving/control-words.ts";
import { StoreLookup } from "./store-lookup.ts";

/** How often it is looked at what has been held for too long. */
const upkeepMs = 60_000;
/** How often it is looked at what VMs write here: a guest fills some 10 MiB of a log in that time. */
const vmUpkeepMs = 10_000;

export interface ServeOptions {
  home: string;
  /** At least one place. */
  listen: readonly ListenAddress[];
  store: string;
  /** End after one VM has arrived. */
  once: boolean;
  /**
   * End when no source has been connected for so long, in milliseconds; and, once a VM has arrived, as soon as none is.
   * Absent: never.
   */
  idleMs?: number | undefined;
  /** How many sessions of the store may be open at once. */
  maxSessions: number;
  ticketTtlMs: number;
  insecure: boolean;
  /** What this destination allows running VMs; absent if it accepts none. */
  qemu?: QemuPolicy;
  /** How this host's libvirt is reached, and what is behind the cards of its VMs; absent if it accepts none. */
  libvirt?: { uri: string; netMap: string };
  /** What is proven here of what this host and its sources run. */
  attesting?: Attesting | undefined;
  /** Keep an index of the store, so that data which are there already need not be sent again. */
  index: boolean;
  /** Doors: Workers that receive. */
  workers: number;
  passphrase: () => Promise<string>;
  signal: AbortSignal;
  timing?: HeartbeatTiming;
  /** Starts the process that a trusted source measures against; absent if none may. */
  measure?: StartMeasuring;
  /** Called around durable writes; for tests. */
  onJournalWrite?: WriteHook;
  /** Milliseconds since 1970, in place of this host's clock; for tests. */
  now?: () => number;
  /** How often it is looked at what has been held, and what VMs write here, in milliseconds; for tests. */
  upkeepEveryMs?: number;
}

/**
 * Serves until the signal aborts or, with `once`, until one VM has arrived. Every session that is then open
 * can be resumed by the next serve on the same home and store. Throws MigrateError.
 */
export async function serve(options: ServeOptions, observe: Observer): Promise<void> {
  const home = openHome(options.home);
  const store = resolve(options.store);
  checkStore(store);
  const unlockStore = lockStore(store);
  try {
    await serveStore(options, home, store, observe);
  } finally {
    unlockStore();
  }
}

/** A TPM that is not there, or does not answer, stops no move that asks for no proof: it is said before one does. */
async function tellIfMute(home: string, env: Attesting["env"], observe: Observer): Promise<void> {
  try {
    const { openHostTpm } = await import("../../attestation/tpm/host-tpm.ts");
    (await openHostTpm({ home, env })).close();
  } catch (thrown) {
    const { message, hint = "" } = asMigrateError(thrown);
    const why = `${message} ${hint}`.trim();
    observe({
      event: "warning",
      message: `this host cannot prove what it runs, as --attest says, just now: ${why}`,
    });
  }
}

async function serveStore(
  options: ServeOptions,
  home: string,
  store: string,
  observe: Observer,
): Promise<void> {
  const identity = options.insecure ? null : await loadHostIdentity(home, { passphrase: options.passphrase });
  const tickets = new TicketBook(identity?.fingerprint ?? `sha256:${"0".repeat(64)}`, {
    monotonicMs: () => performance.now(),
  });
  // Sessions wait for their turn without holding up the others (destination-session.ts).
  const journal = Journal.open(home, options.onJournalWrite, { waitMs: 0 });
  const over = Promise.withResolvers<void>();
  // Without authentication no source is trusted, so none may measure.
  const measuring = new Measuring(options.insecure ? undefined : options.measure, observe);
  // On an insecure link anybody could find out what the store holds.
  const isIndexed = options.index && !options.insecure;
  const announced = Promise.withResolvers<void>();
  const keeper = isIndexed ? startIndex(home, store, observe, announced.promise) : null;
  const now = options.now ?? Date.now;
  const untilNow = steadyClock(now, () => performance.now());
  const trust = () => TrustFile.load(home, untilNow);
  const published = new PublishedSessions(store);
  const context = {
    home,
    lookup: options.insecure ? null : new StoreLookup(store, keeper),
    policy: {
      qemu: options.qemu ?? null,
      libvirt: options.libvirt && (await openLibvirt(home, store, options.libvirt, observe)),
    },
    published,
    sources: options.insecure ? undefined : new SourceTerms({ trust, published, observe, now: untilNow }),
    journal,
    receipts: ReceiptKeeper.of({
      ...{ home, journal, identity },
      tpm: TpmWitness.of({ home, journal, observe, ...options.attesting }),
    }),
    store,
    maxSessions: options.maxSessions,
    room: new PromisedRoom(),
    observe,
    now,
  };
  if (options.attesting?.proves === true) await tellIfMute(home, options.attesting.env, observe);
  const destination = new Destination({
    ...context,
    insecure: options.insecure,
    tickets,
    trust,
    identity,
    attesting: options.attesting,
    timing: options.timing,
    completed: () => {
      idle?.arrived();
      if (options.once) over.resolve();
      else keeper?.scan();
    },
    receiving: (isReceiving) => (isReceiving ? keeper?.pause() : keeper?.resume()),
    measuring,
  });
  const { idleMs } = options;
  const idle = idleMs === undefined ? undefined : new IdleWatch(idleMs, () => over.resolve());
  let doors: DoorPool | undefined;
  let control: LineListener | undefined;
  let upkeep: Timer | undefined;
  let vmUpkeep: Timer | undefined;
  const isOpen = (session: string) => journal.find(session)?.endedAtMs === null;
  const keepVms = () => upkeepOfProviders(home, isOpen, context.now());
  try {
    // No connection is accepted before what a crash left half done is completed.
    await recover(context);
    context.published.load();
    await destination.upkeep();
    keepVms();
    const restored = await context.receipts?.warning("destination");
    doors = await DoorPool.open({
      listen: options.listen,
      credentials: identity && {
        certificatePem: identity.certificatePem,
        privateKeyPem: identity.privateKeyPem,
      },
      workers: options.workers,
      receive: (door, message) => {
        idle?.hear(door, message);
        destination.hear(door, message);
      },
      broken: (error) =>
        over.reject(new MigrateError("bug", `a door died: ${error.message}`, { side: "destination" })),
    });
    destination.doors = doors;
    upkeep = setInterval(() => void destination.upkeep(), options.upkeepEveryMs ?? upkeepMs);
    vmUpkeep = setInterval(keepVms, options.upkeepEveryMs ?? vmUpkeepMs);
    const { places } = doors;
    const delivers = deliveryPlaces(home, store, context.policy);
    const described = { options, store, delivers, fingerprint: identity?.fingerprint, tickets };
    // Addresses come and go: each time it is looked anew.
    const answer = async (question: Question) =>
      answerTo(question, described, await announcementOf(places, options), journal.openIn(store).length);
    const announcement = await announcementOf(places, options);
    const opened = await openControlSocket(home, store, answer).catch(asMigrateError);
    if (opened instanceof LineListener) control = opened;
    announce(described, announcement, observe);
    announced.resolve();
    idle?.start();
    // A serve that no `migrate ticket` reaches takes VMs in all the same.
    if (opened instanceof MigrateError) observe({ event: "warning", message: opened.message });
    tellOtherStores(context);
    if (restored) observe({ event: "warning", message: restored });
    for (const message of options.qemu?.confinement?.lacks ?? []) observe({ event: "warning", message });
    if (options.signal.aborted) over.resolve();
    options.signal.addEventListener("abort", () => over.resolve(), { once: true });
    await over.promise;
    await destination.stop();
    await allCaredFor();
  } finally {
    idle?.stop();
    control?.close();
    clearInterval(upkeep);
    clearInterval(vmUpkeep);
    await Promise.all([doors?.stop(), measuring.stop(), keeper?.stop()]);
    journal.close();
  }
}

/** Reports nothing before the address: scripts expect that in the first line. */
function startIndex(home: string, store: string, observe: Observer, announced: Promise<void>): IndexKeeper {
  const tell: Observer = (event) => void announced.then(() => observe(event));
  let lastFailure = "";
  return IndexKeeper.start({
    home,
    store,
    indexed: ({ files, blocks, bytesRead, ms }) =>
      tell({ event: "indexed", files, blocks, bytesRead, seconds: ms / 1000 }),
    failed: ({ message }) => {
      // A disk that is full stays full for many scans: each failure is reported once.
      if (message !== lastFailure) {
        tell({ event: "warning", message: `the store goes on without its index: ${message}` });
      }
      lastFailure = message;
    },
  });
}

interface Described {
  options: ServeOptions;
  store: string;
  delivers: DeliveryPlace[];
  fingerprint: string | undefined;
  tickets: TicketBook;
}

function announce(
  { options, store, delivers, fingerprint, tickets }: Described,
  announcement: Announcement,
  observe: Observer,
): void {
  const ticket = options.insecure ? undefined : tickets.issue(options.ticketTtlMs).toText();
  observe({
    event: "listening",
    ...announcement,
    ...(fingerprint === undefined ? {} : { fingerprint }),
    ...(ticket === undefined ? {} : { ticket }),
    store,
    delivers,
    insecure: options.insecure,
    qemu: options.qemu !== undefined,
    libvirt: options.libvirt !== undefined,
  });
}

/** Answers on the control socket. Throws MigrateError "policy" for a ticket where none is taken. */
function answerTo(
  question: Question,
  { options, store, fingerprint, tickets }: Described,
  announcement: Announcement,
  sessions: number,
): Answer {
  const about: About = {
    store,
    addresses: announcement.addresses,
    fingerprint: fingerprint ?? null,
    version: software,
    pid: process.pid,
    sessions,
    qemu: options.qemu !== undefined,
    libvirt: options.libvirt !== undefined,
  };
  if (question.ask === "about") return { answer: "about", ...about };
  if (options.insecure)
    throw new MigrateError(
      "policy",
      `the migrate serve of ${store} runs with --insecure, and takes no tickets`,
    );
  const { ttlMs } = question;
  const ticket = tickets.issue(ttlMs).toText();
  return { answer: "ticket", ticket, command: announcement.command, ttlMs, ...about };
}

/**
 * Locks the store for one `migrate serve`: two would not know of each other's names. Returns a function that
 * releases the lock; the kernel does so if the process dies (flock(2)). Throws MigrateError "store-unusable".
 */
function lockStore(store: string): () => void {
  // Another user of the store may have put a link or a pipe there: it is neither followed nor written to.
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants;
  const flags = O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK;
  const fd = openLock(join(store, ".migrate-lock"), flags);
  if (!tryFlock(fd)) {
    closeSync(fd);
    throw new MigrateError("store-unusable", `another migrate serve uses the store ${store}`, {
      side: "destination",
      hint: "A store has one migrate serve: end the other one, or name another store.",
    });
  }
  return () => closeSync(fd);
}

function openLock(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o600);
  } catch (cause) {
    throw new MigrateError(
      "store-unusable",
      `the store's lock ${path} cannot be opened: ${(cause as Error).message}`,
      {
        side: "destination",
        cause,
        hint: "see what it is, and remove it if no migrate serve uses the store",
      },
    );
  }
}
