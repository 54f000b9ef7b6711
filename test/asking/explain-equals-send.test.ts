/**
 * Every refusal of a VM that does not run, by its own host or by the destination: `explain` and `send` say the same
 * sentence and end with the same code, nothing of the VM has been sent, and `explain` leaves both hosts as they were. Of
 * VMs that run: test/live/refusals/.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { loadIdentity } from "../../src/channel/identity.ts";
import { openSourceLink } from "../../src/channel/known-destination.ts";
import { makeTicket } from "../../src/channel/ticket.ts";
import { TrustFile } from "../../src/channel/trust.ts";
import type { TrustTerms } from "../../src/channel/trusted/trust-terms.ts";
import { runProgram } from "../../src/commands/cli/program.ts";
import { openHome } from "../../src/home/home.ts";
import { Journal } from "../../src/migration/journal/journal.ts";
import { filesCandidate } from "../../src/migration/providers/files/leaving-files.ts";
import { claimSession } from "../../src/migration/source/claim.ts";
import { errorCodes } from "../../src/protocol/errors.ts";
import { limits } from "../../src/protocol/limits.ts";
import { markReleased } from "../../src/vm/folder/release-mark.ts";
import { commandTree, TestWorld } from "../commands/world.ts";
import { SmallDisk } from "../support/files/small-disk.ts";
import { makeSmallVm, type SmallVm } from "../support/files/small-vm.ts";
import { type Serving, startServing, stopServing } from "../support/moves/serving.ts";
import { refusalSentences } from "../support/refusals/refusal-sentences.ts";
import { startChild } from "../support/system/child.ts";
import { until } from "../support/system/until.ts";

const tree = commandTree("explain", "send");

interface Ground {
  world: TestWorld;
  sourceHome: string;
  home: string;
  store: string;
  vm: SmallVm;
  serving: Serving;
  /** Undone after the test. */
  undo: (() => unknown)[];
}

interface Row {
  says: string | RegExp;
  code: keyof typeof errorCodes;
  /** How the destination serves, if not as usual; null if nobody does. */
  serves?: { secure?: boolean; maxSessions?: number } | null;
  /** Where its store is, if not in a folder. */
  store?: (ground: Omit<Ground, "serving">) => Promise<string>;
  before?: (ground: Ground) => unknown;
  /** The VM's words, its folder if they are left out. */
  words?: (ground: Ground) => string[];
  flags?: (ground: Ground) => string[];
}

/** Every sentence that was said. */
const said: string[] = [];
let world: TestWorld;
const undo: (() => unknown)[] = [];

beforeEach(() => {
  world = new TestWorld();
});
afterEach(async () => {
  for (const back of undo.splice(0).reverse()) await back();
  await stopServing();
  world.remove();
});

/** The two hosts know each other; the destination takes VMs on these terms. */
async function trusting(
  { sourceHome, home, serving: { address } }: Ground,
  terms: TrustTerms,
): Promise<void> {
  const identityIn = (folder: string) => loadIdentity(openHome(folder), { passphrase: async () => "" });
  const [source, destination] = [await identityIn(sourceHome), await identityIn(home)];
  const place = `${address.host}:${address.port}`;
  await TrustFile.load(sourceHome).add(destination.fingerprint, "destination", place, "known before");
  await TrustFile.load(home).add(source.fingerprint, "source", "somebody", "known before", terms);
}

/** A session that has begun, and stays: of somebody else, or of this very source. */
async function reserve(
  { serving, sourceHome, world: { folder } }: Ground,
  name: string,
  who: "somebody else" | "the source" = "somebody else",
): Promise<void> {
  const id = "ab".repeat(16);
  const isOwn = who === "the source";
  const { link } = await openSourceLink({
    home: isOwn ? sourceHome : openHome(join(folder, "other")),
    address: serving.address,
    identity: isOwn ? await loadIdentity(sourceHome, { passphrase: async () => "" }) : null,
    session: { id, attempt: 1 },
  });
  undo.push(() => link.finish());
  link.send("offer", {
    ...{ name, vm: "01234567-89ab-cdef-0123-456789abcdef", mode: "move", chunkBytes: limits.chunkBytes },
    tagKey: "00".repeat(16),
    files: [{ kind: "ram", name: "ram", bytes: 1, allocatedBytes: 0 }],
  });
  await link.expect("accept");
}

/** Begins a session of this VM at the source, and leaves it in a state. */
async function begun(
  { sourceHome, vm }: Ground,
  address: string,
  what: "open" | "released" | "confirmed",
): Promise<() => void> {
  const journal = Journal.open(openHome(sourceHome));
  const claim = await claimSession(
    filesCandidate({ folder: vm.folder }, "move"),
    { address, mode: "move", after: "keep" },
    { home: sourceHome, journal, identity: async () => null, observe: () => {}, now: () => 1 },
  );
  claim.opened?.close();
  const { session } = claim.record;
  const step = (from: "sending" | "released", to: "released" | "confirmed") =>
    journal.write(to, () => journal.step(session, { side: "source", from, to }));
  if (what !== "open") step("sending", "released");
  if (what === "confirmed") {
    step("released", "confirmed");
    journal.write("end", () => journal.update(session, { endedAtMs: 2, settled: true }));
  }
  journal.close();
  return claim.release;
}

const disk = ({ vm }: Ground) => vm.files.find(({ kind }) => kind === "disk")!.path;
const manifest = ({ vm }: Ground, change: (json: { files: { kind: string; file: string }[] }) => object) =>
  writeFileSync(
    join(vm.folder, "vm.json"),
    JSON.stringify(
      change({
        ...{ format: "migrate-vm/1", name: vm.name },
        files: vm.files.map(({ kind, base }) => ({ kind, file: base })),
      } as never),
    ),
  );
/** A VM that is given by its files, with a virtual TPM. */
const withTpm = (ground: Ground): string[] => {
  const folder = join(ground.world.folder, "tpm");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "tpm2-00.permall"), "its state");
  return ["--name", "web1", "--disk", disk(ground), "--tpm-state", folder];
};
const secret = (count: number) => new Uint8Array(count).fill(7);

const atDestination: Row[] = [
  {
    says: "there is a VM named web1 in the destination's store",
    code: "name-taken",
    before: ({ store }) => mkdirSync(join(store, "web1")),
  },
  {
    says: /^the name web1 is reserved at the destination by session [0-9a-f]{12}, which is receiving$/,
    code: "name-taken",
    before: (ground) => reserve(ground, "web1"),
  },
  {
    says: "the destination has 1 sessions already, which is its limit",
    code: "busy",
    serves: { maxSessions: 1 },
    before: (ground) => reserve(ground, "web2"),
  },
  {
    says: /^the VM needs \d+ bytes, the destination's store has \d+ free$/,
    code: "no-room",
    store: async ({ world: { folder } }) => {
      const small = await SmallDisk.make(join(folder, "small"), 1024 * 1024);
      undo.push(() => small.close());
      return small.path;
    },
  },
  {
    says: "the destination cannot write to its store (ENOENT)",
    code: "store-failed",
    before: ({ store }) => rmSync(store, { recursive: true }),
  },
  {
    says: /^127\.0\.0\.1:\d+ does not take VMs from this host\. run `migrate ticket` there/,
    code: "not-trusted",
    serves: { secure: true },
    before: async ({ sourceHome, home, serving: { address } }) => {
      const { fingerprint } = await loadIdentity(home, { passphrase: async () => "" });
      const trust = TrustFile.load(openHome(sourceHome));
      await trust.add(fingerprint, "destination", `${address.host}:${address.port}`, "known before");
    },
    flags: () => [],
  },
  {
    says: /^127\.0\.0\.1:\d+ is not a destination that this host knows\. run `migrate ticket` there/,
    code: "not-trusted",
    serves: { secure: true },
    flags: () => [],
  },
  {
    says: /^the VM has \d+ bytes, and the destination takes 1 from this source$/,
    code: "limit",
    serves: { secure: true },
    before: (ground) => trusting(ground, { maxBytes: 1 }),
    flags: () => [],
  },
  {
    says: "the destination has a VM of this source already, and takes 1 from it",
    code: "limit",
    serves: { secure: true },
    before: async (ground) => {
      await trusting(ground, { maxVms: 1 });
      await reserve(ground, "web9", "the source");
    },
    flags: () => [],
  },
  {
    says: "the destination has a session of this source already, and takes 1 at a time",
    code: "busy",
    serves: { secure: true },
    before: async (ground) => {
      await trusting(ground, { maxSessions: 1 });
      await reserve(ground, "web9", "the source");
    },
    flags: () => [],
  },
  {
    says: /^127\.0\.0\.1:\d+ .*expired on 2001-09-09/,
    code: "not-trusted",
    serves: { secure: true },
    before: (ground) => trusting(ground, { expires: "2001-09-09" }),
    flags: () => [],
  },
  {
    says: /^127\.0\.0\.1:\d+ is not the host that made this ticket: it shows sha256:/,
    code: "wrong-identity",
    serves: { secure: true },
    flags: ({ world: { folder } }) => {
      const file = join(folder, "ticket");
      writeFileSync(file, makeTicket(`sha256:${"5a".repeat(32)}`, secret).toText(), { mode: 0o600 });
      return ["--ticket-file", file];
    },
  },
  {
    says: /^The destination does not know this ticket\./,
    code: "ticket-invalid",
    serves: { secure: true },
    before: async ({ serving }) => {
      expect(serving.ticket).toBeString();
    },
    flags: () => ["--ticket", foreignTicket],
  },
  {
    says: /^the other side speaks TLS, and this side does not\./,
    code: "insecure-mismatch",
    serves: { secure: true },
  },
  { says: /^cannot connect to 127\.0\.0\.1:\d+: nothing listens there$/, code: "network", serves: null },
];
/** Of this very destination, and never made by it. */
let foreignTicket = "";

const atSource: Row[] = [
  {
    says: /^The VM's folder .*\/nowhere does not exist$/,
    code: "vm-invalid",
    words: ({ world: { folder } }) => [join(folder, "nowhere")],
  },
  {
    says: /\/web1 has no vm\.json\. Write one, or name the VM's files/,
    code: "vm-invalid",
    before: ({ vm }) => rmSync(join(vm.folder, "vm.json")),
  },
  {
    says: /is not JSON/,
    code: "vm-invalid",
    before: ({ vm }) => writeFileSync(join(vm.folder, "vm.json"), "{"),
  },
  {
    says: /\/vm\.json: format /,
    code: "vm-invalid",
    before: (ground) => manifest(ground, (json) => ({ ...json, format: "migrate-vm/9" })),
  },
  {
    says: /\/vm\.json is not a regular file$/,
    code: "vm-invalid",
    before: ({ vm }) => {
      rmSync(join(vm.folder, "vm.json"));
      mkdirSync(join(vm.folder, "vm.json"));
    },
  },
  {
    says: /\/vm\.json is larger than \d+ bytes$/,
    code: "vm-invalid",
    before: ({ vm }) => truncateSync(join(vm.folder, "vm.json"), 2 ** 30),
  },
  {
    says: /^.* is not a folder\. Give a folder with a vm\.json, or name the files/,
    code: "vm-invalid",
    words: (ground) => [disk(ground)],
  },
  {
    says: /^.* holds the files of a domain of libvirt, which has the rest of it\. Name the domain: libvirt:web1\.$/,
    code: "vm-invalid",
    before: (ground) => manifest(ground, (json) => ({ ...json, manager: "libvirt" })),
  },
  {
    says: "The VM has no file at all. Name some: --ram, --disk, --raw-disk, --tpm-state.",
    code: "vm-invalid",
    words: () => ["--name", "web1"],
  },
  {
    says: /^Two files of the VM have the same name, /,
    code: "vm-invalid",
    words: (ground) => {
      mkdirSync(join(ground.world.folder, "second"));
      const second = join(ground.world.folder, "second", basename(disk(ground)));
      writeFileSync(second, "x");
      return ["--name", "web1", "--raw-disk", disk(ground), "--raw-disk", second];
    },
  },
  {
    says: /^The TPM's state folder .* has a folder inside, inner\. Give the folder that holds/,
    code: "vm-invalid",
    words: ({ world: { folder } }) => {
      mkdirSync(join(folder, "tpm", "inner"), { recursive: true });
      return ["--name", "web1", "--tpm-state", join(folder, "tpm")];
    },
  },
  {
    says: /^The TPM's state folder .* does not exist$/,
    code: "vm-invalid",
    words: ({ world: { folder } }) => ["--name", "web1", "--tpm-state", join(folder, "tpm")],
  },
  {
    says: /cannot be sent under its name: .*\. Rename or link the file\.$/,
    code: "vm-invalid",
    words: ({ world: { folder } }) => {
      writeFileSync(join(folder, ".hidden"), "x");
      return ["--name", "web1", "--raw-disk", join(folder, ".hidden")];
    },
  },
  {
    says: /^The VM has more than 64 files$/,
    code: "vm-invalid",
    words: (ground) => {
      const paths = [...Array(65).keys()].map((n) => join(ground.world.folder, `d${n}`));
      for (const path of paths) writeFileSync(path, path);
      return ["--name", "web1", ...paths.flatMap((path) => ["--raw-disk", path])];
    },
  },
  {
    says: /are one and the same file$/,
    code: "vm-invalid",
    words: (ground) => {
      linkSync(disk(ground), `${disk(ground)}.other`);
      return ["--name", "web1", "--disk", disk(ground), "--disk", `${disk(ground)}.other`];
    },
  },
  {
    says: /^The VM cannot have this name: /,
    code: "vm-invalid",
    words: (ground) => ["--name", "a/b", "--disk", disk(ground)],
  },
  {
    says: /is a link that leaves the VM's folder\. Copy the file into the folder\.$/,
    code: "vm-invalid",
    before: (ground) => {
      renameSync(disk(ground), join(ground.world.folder, "elsewhere"));
      symlinkSync(join(ground.world.folder, "elsewhere"), disk(ground));
    },
  },
  {
    says: /is not a regular file$/,
    code: "vm-invalid",
    words: ({ world: { folder } }) => ["--name", "web1", "--disk", folder],
  },
  {
    says: /^The VM has \d+ bytes; the largest one that can be sent has \d+$/,
    code: "vm-invalid",
    words: (ground) => {
      truncateSync(disk(ground), limits.vmBytes);
      return ["--name", "web1", "--disk", disk(ground), "--disk", ground.vm.files[0]!.path];
    },
  },
  {
    says: /holds nothing but the VM's RAM\. Leave out --without-ram\.$/,
    code: "vm-invalid",
    before: (ground) =>
      manifest(ground, (json) => ({ ...json, files: json.files.filter(({ kind }) => kind === "ram") })),
    flags: () => ["--insecure", "--without-ram"],
  },
  {
    says: /^--after keep would leave the state of web1's virtual TPM readable here: .*--seal-tpm FILE/,
    code: "policy",
    words: withTpm,
    flags: () => ["--insecure", "--after", "keep"],
  },
  {
    says: /^web1 has a virtual TPM: a copy of it would be a second VM .*\. Give --new-tpm: /,
    code: "policy",
    words: withTpm,
    flags: () => ["--insecure", "--copy"],
  },
  {
    says: /^The saved RAM of web1 holds the state of its virtual TPM, .*\. Leave out --ram: /,
    code: "policy",
    words: (ground) => [...withTpm(ground), "--ram", ground.vm.files[0]!.path],
    flags: () => ["--insecure", "--copy", "--new-tpm"],
  },
  {
    says: /^web1 is not copied: its own policy says so\. Move it\. /,
    code: "policy",
    before: (ground) => manifest(ground, (json) => ({ ...json, policy: { noCopies: true } })),
    flags: () => ["--insecure", "--copy"],
  },
  {
    says: /^web1 goes to hosts alone that prove what they run, and the destination has not done so\. /,
    code: "attestation",
    flags: () => ["--insecure", "--vm-policy", "attested"],
  },
  {
    says: "Nothing of web1 is left to copy but its virtual TPM. Name its disks as well.",
    code: "policy",
    words: (ground) => withTpm(ground).filter((word, n, all) => word !== "--disk" && all[n - 1] !== "--disk"),
    flags: () => ["--insecure", "--copy", "--new-tpm"],
  },
  {
    says: /^The TPM's state folder .* holds no state$/,
    code: "vm-invalid",
    words: ({ world: { folder } }) => {
      mkdirSync(join(folder, "tpm"));
      return ["--name", "web1", "--tpm-state", join(folder, "tpm")];
    },
  },
  {
    says: /looks like .*VMDK/,
    code: "vm-invalid",
    before: (ground) => {
      writeFileSync(disk(ground), Buffer.concat([Buffer.from("KDMV"), Buffer.alloc(4096)]));
    },
  },
  {
    says: /is open for writing by/,
    code: "vm-busy",
    before: async (ground) => {
      const writer = startChild(["sh", "-c", 'exec 3>>"$0"; echo; exec sleep 600', disk(ground)]);
      undo.push(() => writer.kill());
      await until(() => writer.stdout() !== "", "a writer");
    },
  },
  {
    says: /has 2 names \(hard links\), and is one file/,
    code: "vm-invalid",
    before: (ground) => linkSync(disk(ground), join(ground.world.folder, "second")),
  },
  {
    says: /is not the RAM of these disks any more: /,
    code: "vm-invalid",
    before: ({ vm }) => utimesSync(vm.files[0]!.path, 1000, 1000),
  },
  {
    says: /is a copy; it has no ownership that could move\. send it with --copy/,
    code: "not-owner",
    before: (ground) =>
      manifest(ground, (json) => ({
        ...json,
        ownership: {
          state: "copy",
          session: "ab".repeat(16),
          from: "insecure",
          since: "2026-01-01T00:00:00Z",
        },
      })),
  },
  {
    says: /says that it was released to insecure, and this host's journal does not say otherwise\. ask there/,
    code: "not-owner",
    before: (ground) => markReleased(disk(ground), { session: "ab".repeat(16), to: "insecure" }),
  },
  {
    says: /^web1 was moved to 192\.0\.2\.7:7600 and is owned there\. see `migrate history`/,
    code: "not-owner",
    before: async (ground) => (await begun(ground, "192.0.2.7:7600", "confirmed"))(),
  },
  {
    says: /^web1 was moved to 192\.0\.2\.7:7600 and is owned there\. see `migrate history`/,
    code: "not-owner",
    before: async (ground) => {
      (await begun(ground, "192.0.2.7:7600", "confirmed"))();
      rmSync(ground.vm.folder, { recursive: true });
    },
  },
  {
    says: /^web1 was released to 192\.0\.2\.7:7600, which has not said yet that it owns it\. migrate resolve/,
    code: "in-doubt",
    before: async (ground) => (await begun(ground, "192.0.2.7:7600", "released"))(),
  },
  {
    says: /^web1 is being sent by another process\. migrate status shows session/,
    code: "vm-busy",
    before: async (ground) => undo.push(await begun(ground, "192.0.2.7:7600", "open")),
  },
];

/** All of both hosts that an explain could change. */
function hostsNow({ sourceHome, home, store, vm, world: { folder } }: Ground) {
  const rows = (path: string) => {
    const journal = Journal.open(openHome(path));
    try {
      return [...journal.all("source"), ...journal.all("destination")];
    } finally {
      journal.close();
    }
  };
  const list = (path: string) => {
    try {
      return readdirSync(path, { recursive: true }).map(String).sort();
    } catch {
      return [];
    }
  };
  return {
    sessions: [rows(sourceHome), rows(home)],
    files: [list(store), list(vm.folder)],
    run: list(join(home, "run")),
    world: folder,
  };
}

/** The first refusal, or the error that it ended with, as one sentence. */
function sentenceOf(events: Record<string, unknown>[]): string {
  const explanation = events.find(({ event }) => event === "explanation");
  if (explanation !== undefined) return (explanation.refused as string[])[0] ?? "";
  const { message, hint } = events.find(({ event }) => event === "error") ?? {};
  return hint === undefined ? String(message) : `${message}. ${hint}`;
}

async function expectSame(row: Row): Promise<void> {
  const { folder } = world;
  const [sourceHome, home] = [join(folder, "home"), join(folder, "there")];
  const vm = makeSmallVm(join(folder, "web1"));
  const rest = { world, sourceHome, home, vm, undo };
  const store = (await row.store?.({ ...rest, store: "" })) ?? join(folder, "store");
  const serving = await startServing({ home, store, workers: 1, ...row.serves });
  const ground: Ground = { ...rest, store, serving };
  if (row.serves === null) await serving.stop();
  await row.before?.(ground);
  if (serving.ticket !== undefined) {
    const { fingerprint } = await loadIdentity(home, { passphrase: async () => "" });
    foreignTicket = makeTicket(fingerprint, secret).toText();
  }
  const { host, port } = serving.address;
  const vmWords = row.words?.(ground) ?? [vm.folder];
  const words = [...vmWords, `${host}:${port}`, "--json", ...(row.flags?.(ground) ?? ["--insecure"])];
  const before = hostsNow(ground);
  const explained = await runProgram(tree, ["explain", ...words], world);
  const explanation = sentenceOf(world.takeEvents());
  expect(hostsNow(ground)).toEqual(before);
  const sent = await runProgram(tree, ["send", ...words, "--retry-for", "0s"], world);
  const events = world.takeEvents();
  expect({ explanation, explained }).toEqual({ explanation: sentenceOf(events), explained: sent });
  expect(sent).toBe(errorCodes[row.code]);
  if (typeof row.says === "string") expect(explanation).toBe(row.says);
  else expect(explanation).toMatch(row.says);
  const progress = events.filter(({ event }) => event === "progress");
  expect(progress.filter(({ doneBytes, wireBytes }) => doneBytes !== 0 || wireBytes !== 0)).toEqual([]);
  expect(hostsNow(ground).files[0]!).toEqual(before.files[0]!);
  said.push(explanation);
}

describe("of the words alone", () => {
  const qmp = "qmp:/nowhere/web1.qmp";
  test.each([
    [
      ["--name", "web1", "--disk", "a", "/srv/web1", "hostb"],
      "A VM is given by its folder or by its files, not both",
    ],
    [["--disk", "a", "hostb"], "--name is missing"],
    [[qmp, "hostb", "--disk", "a"], "The files of a VM that runs are found by its QEMU"],
    [["qmp:", "hostb"], "The path of the QMP socket is missing"],
    [["libvirt:", "hostb"], "The domain's name is missing"],
    [["libvirt:web1", "hostb", "--copy"], "A domain can be moved, not copied"],
    [[qmp, "hostb", "--copy"], "A VM that runs can be moved, not copied"],
    [["/srv/web1", "hostb", "--connect", "qemu:///system"], "--connect is about a VM of libvirt"],
    [["/srv/web1", "hostb", "--mode", "stop"], "--mode is about a VM that runs, which is given as qmp:PATH"],
    [["/srv/web1", "hostb", "--announce", "off"], "--announce is about a VM that runs"],
    [["/srv/web1", "hostb", "--cpu-check", "off"], "--cpu-check is about a VM that runs"],
    [
      [qmp, "hostb", "--set-time", "off"],
      "--set-time is about a VM that is stopped for its move: --mode stop",
    ],
    [[qmp, "hostb", "--without-ram"], "--without-ram is about a VM that is given by its folder"],
    [["/srv/web1", "hostb", "--drop", "bitmaps"], "--drop is about a VM that runs"],
    [[qmp, "hostb", "--drop", "video"], "--drop takes snapshots and bitmaps of a VM that runs, not video"],
    [["/srv/web1", "hostb", "--copy", "--after", "keep"], "--copy and --after exclude each other"],
    [["/srv/web1", "hostb", "--seal-tpm", "-"], "--seal-tpm is about --after keep"],
    [["/srv/web1", "hostb", "--new-tpm"], "--new-tpm is about --copy"],
    [["/srv/web1", "hostb", "--vm-policy", "no-copy"], "--vm-policy takes none, or attested and no-copies"],
    [["/srv/web1", "host:port"], 'HOST:PORT must be HOST:PORT, not "host:port"'],
  ])("%j", async (words, says) => {
    const sentences: string[] = [];
    for (const command of ["explain", "send"]) {
      expect(await runProgram(tree, [command, ...words, "--json"], world)).toBe(errorCodes.usage);
      sentences.push(String(world.takeEvents().at(-1)?.message));
    }
    expect(sentences[0]).toStartWith(says);
    expect(sentences[1]).toBe(sentences[0]!);
  });
});

describe("at the destination", () => {
  for (const row of atDestination) test(String(row.says), () => expectSame(row));
});

describe("at the source", () => {
  for (const row of atSource) test(String(row.says), () => expectSame(row));
});

describe("what send would see to first is told in its place, and nothing is changed:", () => {
  async function told(ground: Ground, words: string[]) {
    const before = hostsNow(ground);
    expect(await runProgram(tree, ["explain", ...words, "--insecure", "--json"], world)).toBe(0);
    expect(hostsNow(ground)).toEqual(before);
    return world.takeEvents().at(-1);
  }
  async function made(): Promise<Ground & { to: string }> {
    const { folder } = world;
    const [sourceHome, home, store] = [join(folder, "home"), join(folder, "there"), join(folder, "store")];
    const serving = await startServing({ home, store, workers: 1 });
    const vm = makeSmallVm(join(folder, "web1"));
    const to = `127.0.0.1:${serving.address.port}`;
    return { world, sourceHome, home, store, serving, vm, undo, to };
  }

  test("the end of a move that was released to this destination, whatever there is of its files", async () => {
    const ground = await made();
    (await begun(ground, ground.to, "released"))();
    for (const isGone of [false, true]) {
      if (isGone) rmSync(ground.vm.folder, { recursive: true });
      const { name, refused, unfinished } = (await told(ground, [ground.vm.folder, ground.to]))!;
      expect({ name, refused }).toEqual({ name: "web1", refused: [] });
      expect(unfinished).toStartWith(`web1 was released to ${ground.to} before (session `);
    }
  });

  test("a running VM's move that died, and was not taken back", async () => {
    const ground = await made();
    (await begun(ground, ground.to, "open"))();
    const journal = Journal.open(ground.sourceHome);
    const { session } = journal.all("source")[0]!;
    const kept = { side: "source", qmpPath: "/nowhere/web1.qmp" };
    journal.write("test", () => journal.update(session, { provider: "qemu", kept }));
    journal.close();
    const { refused, unfinished } = (await told(ground, ["qmp:/nowhere/web1.qmp", ground.to]))!;
    expect(refused).toEqual([]);
    expect(unfinished).toStartWith("A move of web1 was broken off, and is not taken back yet (session ");
  });
});

/** What no row brings about, by how its sentence begins, and why. */
const elsewhere: readonly (readonly [text: string, why: string])[] = [
  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: templates, as they stand in the source
  ["${path} cannot be read", "another user's: to root all can be read"],
  ["${disk.base} has been written since the two arrived", "of a VM that arrived: stale-ram.test.ts"],
  ["${state.base} is not the state of the virtual TPM", "of a VM that arrived: sealed-tpm.test.ts"],
  ["${path} could not be destroyed once the VM has moved", "another user's: root may write to all"],
  ["the state of its virtual TPM here could not be destroyed", "after the move: tpm-at-source.test.ts"],
  ["${path} is not the sealed state of this session", "after the move: retired-tpm.test.ts"],
  ["${record.name} has a policy of its own", "an older destination: vm-policies.test.ts"],
  ["${record.name} was being sent by another process until just now", "a race: claim.test.ts"],
  ["the destination has ${own} sessions of this source already", "not without TLS: peers.test.ts"],
  ["${long} is too long a name", "a file system with shorter names: offer-check.test.ts"],
  ["the session was begun with other files", "a peer that lies: asked-offer.test.ts"],
  ["the session was begun with another policy", "a peer that lies: asked-offer.test.ts"],
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: templates, as they stand in the source
];

test("every place that refuses such a VM is in a table", () => {
  const places = [
    "src/vm/folder/vm-folder.ts",
    "src/vm/folder/manifest.ts",
    "src/migration/providers/files/stale-ram.ts",
    "src/migration/providers/files/leaving-files.ts",
    "src/migration/providers/files/copied-tpm.ts",
    "src/migration/providers/tpm-at-source.ts",
    "src/migration/providers/recorded-tpm.ts",
    "src/migration/source/gate/own-policy.ts",
    "src/migration/source/claim.ts",
    "src/migration/destination/offer-check.ts",
    "src/migration/destination/peers/promised-room.ts",
  ];
  const unknown = refusalSentences(places).filter(
    ({ text, pattern }) =>
      !said.some((sentence) => pattern.test(sentence)) &&
      !elsewhere.some(([begins]) => text.startsWith(begins)),
  );
  expect(unknown.map(({ file, text }) => `${file}: ${text}`)).toEqual([]);
});
