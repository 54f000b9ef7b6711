/**
 * What two hosts that cannot speak any more settle by what they have signed; and a host whose journal, or whole home,
 * was restored from a backup.
 */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadIdentity } from "../../src/channel/identity.ts";
import { Journal } from "../../src/migration/journal/journal.ts";
import { parseReceipts, receiptText } from "../../src/migration/receipts/receipt-file.ts";
import { signed } from "../../src/migration/receipts/signature.ts";
import type { MigrateError } from "../../src/protocol/errors.ts";
import { makeSmallVm, type SmallVm } from "../support/files/small-vm.ts";
import { makeIdentity } from "../support/hostile/hostile-ground.ts";
import { CuttingProxy } from "../support/moves/cutting-proxy.ts";
import { expectMoved, expectOneOwner, type Hosts, sessionsIn } from "../support/moves/ownership.ts";
import { type Sent, sendOnce } from "../support/moves/sending.ts";
import { lastServing, type Serving, startServing, stopServing } from "../support/moves/serving.ts";
import { runMigrate } from "../support/system/process.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let root: string;
let vm: SmallVm;
let hosts: Hosts;
/** Leads to whoever serves, or to a port on which nobody listens. */
let proxy: CuttingProxy;
const nobody = { host: "127.0.0.1", port: 1 };

eachTestInFolder("migrate-receipts-", async (folder) => {
  root = folder;
  vm = makeSmallVm(join(root, "web1"));
  hosts = { sourceHome: join(root, "a"), destinationHome: join(root, "b"), store: join(root, "store") };
  proxy = await CuttingProxy.open({ target: () => lastServing()?.address ?? nobody, parseFrames: false });
  return async () => {
    await stopServing();
    await proxy.close();
  };
});

type Side = "source" | "destination";
const homeOf = (side: Side) => (side === "source" ? hosts.sourceHome : hosts.destinationHome);
const recordOf = (side: Side) => sessionsIn(homeOf(side), side).at(-1)!;
const states = () => [recordOf("source").state, recordOf("destination").state];

/** A side dies, so that nothing more of it is heard, at the journal's write of this label. */
interface Death {
  side: Side;
  when: "before" | "after";
  label: string;
}

const dies = (death: Death | undefined, side: Side) => ({
  onJournalWrite: (when: "before" | "after", label: string) => {
    if (death?.side === side && death.when === when && death.label === label) throw new Error("gone");
  },
});

/** Moves a VM by a secure link, up to where a side dies; nobody serves any more after that. */
async function move(death?: Death, moved = vm): Promise<Sent> {
  const serving = await serve(death);
  const sent = await sendTo(serving, moved, death);
  await stopServing();
  return sent;
}

const serve = (death?: Death): Promise<Serving> =>
  startServing({
    home: hosts.destinationHome,
    store: hosts.store,
    secure: true,
    ...dies(death, "destination"),
  });

const sendTo = (serving: Serving, moved: SmallVm, death?: Death): Promise<Sent> =>
  sendOnce({
    home: hosts.sourceHome,
    vm: moved.spec,
    address: proxy.address,
    ticket: serving.ticket,
    retryForMs: 0,
    ...dies(death, "source"),
  });

async function run(side: Side, ...words: string[]) {
  const process = runMigrate([...words, "--json"], { home: homeOf(side) });
  const { code } = await process.exit;
  return { code, events: process.events as unknown as Record<string, unknown>[] };
}

const resolve = (side: Side, ...words: string[]) =>
  run(side, "resolve", recordOf(side).session.slice(0, 12), "--retry-for", "0s", ...words);

/** What `migrate receipt show` writes on a side, as a file. */
async function fileOf(side: Side): Promise<string> {
  const process = runMigrate(["receipt", "show", recordOf(side).session], { home: homeOf(side) });
  expect(await process.exit).toMatchObject({ code: 0 });
  const path = join(root, `${side}.receipts`);
  writeFileSync(path, process.stdout());
  return path;
}

/** RELEASE is signed, and does not arrive. */
const unheard: Death = { side: "source", when: "after", label: "receipt-release" };
/** RELEASE came, and its receipt is durable; the destination is not the owner yet. */
const unowned: Death = { side: "destination", when: "before", label: "owner" };
/** The VM has its name at the destination, and OWNED is not signed. */
const unsaid: Death = { side: "destination", when: "before", label: "receipt-owned" };

/** The destination has the VM, and the source has let go of it: the two have not spoken since, and need not. */
function expectSettled(): void {
  expect(states()).toEqual(["confirmed", "owner"]);
  expectOneOwner(vm, hosts, "settled on both sides");
  expect(existsSync(join(hosts.store, "web1", "vm.json"))).toBe(true);
  expect(existsSync(vm.folder)).toBe(false);
}

const allKinds = ["ready", "release", "owned"];

// [RCPT-2] [RCPT-4]
test("a move leaves the same receipts on both sides, which anybody can check without either", async () => {
  expect((await move()).error).toBeUndefined();
  const kept = (["source", "destination"] as const).map((side) => {
    const journal = Journal.open(homeOf(side));
    const receipts = journal.receipts.of(recordOf(side).session);
    journal.close();
    return receipts;
  });
  expect(kept[0]).toEqual(kept[1]!);
  expect(kept[0]!.map(({ kind }) => kind)).toEqual(["ready", "release", "owned"]);
  expect((await run("source", "history")).events).toMatchObject([{ receipts: allKinds }]);
  const file = await fileOf("destination");
  expect(await run("source", "receipt", "check", file)).toMatchObject({ code: 0 });
  writeFileSync(file, readFileSync(file, "utf8").replace(/"generation":1,/, '"generation":9,'));
  expect(await run("source", "receipt", "check", file)).toMatchObject({ code: 5 });
});

describe("a destination that is ready", () => {
  // [RCPT-4] [RCPT-7]
  test("and died with the source's RELEASE in its journal takes the VM without a person's word", async () => {
    await move(unowned);
    expect(states()).toEqual(["released", "ready"]);
    expectOneOwner(vm, hosts, "RELEASE is kept");
    expect(await resolve("destination")).toMatchObject({ code: 0 });
    expect(states()).toEqual(["released", "owner"]);
    expectOneOwner(vm, hosts, "resolved");
    expect(await resolve("source", "--receipt", await fileOf("destination"))).toMatchObject({ code: 0 });
    expectSettled();
  });

  // [RCPT-7]
  test("takes the VM on the source's RELEASE that a person brings, and not before", async () => {
    await move(unheard);
    expect(states()).toEqual(["released", "ready"]);
    expect(await resolve("destination")).toMatchObject({ code: 7 });
    expect(await resolve("destination", "--receipt", await fileOf("source"))).toMatchObject({ code: 0 });
    expect(states()).toEqual(["released", "owner"]);
    // The same command as ever ends it as well, once the two can speak.
    expect((await sendTo(await serve(), vm)).error).toBeUndefined();
    expectMoved(vm, hosts, "settled by a file, then sent");
  });

  // [RCPT-1] [RCPT-7]
  test("takes it on no other paper", async () => {
    await move(unheard);
    const good = readFileSync(await fileOf("source"), "utf8");
    const other = makeSmallVm(join(root, "web2"));
    const path = join(root, "papers");
    const refused = async (text: string): Promise<number | null> => {
      writeFileSync(path, text);
      return (await resolve("destination", "--receipt", path)).code;
    };
    const { session } = recordOf("destination");
    const lines = good.split("\n");
    expect(await refused(lines.filter((line) => !line.includes('"kind":"release"')).join("\n"))).toBe(6);
    expect(await refused(good.replace(/"seen":\d+/g, '"seen":99'))).toBe(5);
    expect(await refused(good.replace(/"digest":"sha256:../g, '"digest":"sha256:00'))).toBe(5);
    expect(await refused(good.replaceAll(/"signature":"../g, '"signature":"00'))).toBe(5);
    expect(await refused("what the source said")).toBe(6);
    // Rightly signed, and by somebody else, to somebody else, or about something else.
    const release = parseReceipts(good).find(({ kind }) => kind === "release")!;
    const [source, stranger] = [await loadIdentity(hosts.sourceHome), await makeIdentity()];
    for (const [change, by] of [
      [{ signer: stranger.fingerprint }, stranger],
      [{ other: stranger.fingerprint }, source],
      [{ digest: `sha256:${"0".repeat(64)}` }, source],
      [{ mode: "copy" }, source],
    ] as const) {
      expect(await refused(receiptText("web1", [signed({ ...release, ...change }, by)]))).toBe(5);
    }
    // READY's receipt says RELEASE, and another session's says this one's.
    expect(
      await refused(
        lines
          .filter((line) => !line.includes('"kind":"release"'))
          .join("\n")
          .replace('"kind":"ready"', '"kind":"release"'),
      ),
    ).toBe(5);
    expect(states()).toEqual(["released", "ready"]);
    expect((await resolve("destination", "--receipt", await fileOf("source"))).code).toBe(0);
    expect((await move(unheard, other)).error).toBeDefined();
    const another = readFileSync(await fileOf("source"), "utf8");
    expect(recordOf("destination").session).not.toBe(session);
    expect(await refused(good)).toBe(6);
    expect(await refused(another.replaceAll(recordOf("source").session, session))).toBe(6);
    expect(await refused(good.replaceAll(session, recordOf("source").session))).toBe(5);
  });

  // [RCPT-3] [RCPT-7]
  test("and died before it signed that takes nothing on a RELEASE from before, but on the source's word", async () => {
    await move(unheard);
    const journal = new Database(join(hosts.destinationHome, "journal.sqlite"));
    journal.run("DELETE FROM receipts WHERE kind = 'ready'");
    journal.close();
    const { code, events } = await resolve("destination", "--receipt", await fileOf("source"));
    expect(code).toBe(5);
    const [{ message } = {}] = events.filter(({ event }) => event === "error");
    expect(message).toContain("is for an earlier READY: the last one is not signed");
    expect(states()).toEqual(["released", "ready"]);
    // As of a session that two versions without receipts began.
    expect((await sendTo(await serve(), vm)).error).toBeUndefined();
    expectMoved(vm, hosts, "RELEASE came by a link");
  });

  // [RCPT-6] [RCPT-7]
  test("and was given up does not take it on a RELEASE from before, nor does the source show one any more", async () => {
    await move(unheard);
    const old = await fileOf("source");
    expect(await resolve("destination", "--owner", "source")).toMatchObject({ code: 0 });
    expect(await resolve("source", "--owner", "source")).toMatchObject({ code: 0 });
    expect(states()).toEqual(["cancelled", "cancelled"]);
    expect(await resolve("destination", "--receipt", old)).toMatchObject({ code: 6 });
    expect(states()).toEqual(["cancelled", "cancelled"]);
    expectOneOwner(vm, hosts, "an old RELEASE is shown");
    expect(await run("source", "receipt", "show", recordOf("source").session)).toMatchObject({ code: 6 });
  });
});

// [RCPT-4]
test("a destination that died before it signed OWNED signs it when it serves again, and its file ends the move", async () => {
  await move(unsaid);
  expect(states()).toEqual(["released", "owner"]);
  await serve();
  await stopServing();
  expect(await resolve("source", "--receipt", await fileOf("destination"))).toMatchObject({ code: 0 });
  expectSettled();
});

// [RCPT-7]
test("a source that took its VM back is told of an OWNED as a doubt", async () => {
  await move(unowned);
  expect((await resolve("destination")).code).toBe(0);
  const owned = await fileOf("destination");
  // The person was wrong about the destination.
  const back = await resolve("source", "--owner", "source");
  expect(back.code).toBe(0);
  const warned = { event: "warning", message: expect.stringContaining("should its destination come back") };
  expect(back.events).toContainEqual(expect.objectContaining(warned));
  expect((await resolve("source", "--receipt", owned)).code).toBe(7);
  expect(states()).toEqual(["cancelled", "owner"]);
});

describe("a host that was restored from a backup", () => {
  const backup = () => join(root, "backup");

  /** The journal, or all of the home, as it is now. */
  function backUp(side: Side): void {
    rmSync(backup(), { recursive: true, force: true });
    mkdirSync(backup());
    const database = new Database(join(homeOf(side), "journal.sqlite"));
    database.run(`VACUUM INTO '${join(backup(), "journal.sqlite")}'`);
    database.close();
  }

  function restore(side: Side, what: "journal" | "home"): void {
    for (const name of readdirSync(homeOf(side)).filter((name) => name.startsWith("journal.sqlite"))) {
      rmSync(join(homeOf(side), name));
    }
    cpSync(join(backup(), "journal.sqlite"), join(homeOf(side), "journal.sqlite"));
    // Of a time when there was none.
    if (what === "home") rmSync(join(homeOf(side), "generation"), { force: true });
  }

  const moveNext = (name: string) => move(undefined, makeSmallVm(join(root, name)));

  function expectRestored(error: MigrateError | undefined, side: Side): void {
    expect(error).toMatchObject({ code: "in-doubt", exitCode: 7, side });
    expect(error?.message).toContain("it was restored");
  }

  // [RCPT-8]
  test.each([
    ["source", "journal"],
    ["source", "home"],
    ["destination", "journal"],
    ["destination", "home"],
  ] as const)("the %s, by its %s, moves nothing until a person has looked", async (side, what) => {
    expect((await moveNext("first")).error).toBeUndefined();
    backUp(side);
    expect((await moveNext("second")).error).toBeUndefined();
    restore(side, what);
    const third = makeSmallVm(join(root, "third"));
    const serving = await serve();
    const sent = await sendTo(serving, third);
    const asked = await run("source", "explain", third.folder, proxy.addressText);
    await stopServing();
    expectRestored(sent.error, side);
    // So is who serves here, as soon as this host has noticed.
    const warned = {
      event: "warning",
      message: expect.stringContaining("migrate receipt restored --yes here"),
    };
    if (side === "destination") expect(serving.events).toContainEqual(expect.objectContaining(warned));
    // [ASK-1] Who only asks is told the same.
    expect(JSON.stringify(asked.events)).toContain(sent.error!.message);
    expect(asked.code).not.toBe(0);
    expect(existsSync(join(hosts.store, "third"))).toBe(false);
    const doctor = async () => (await run(side, "doctor")).events.filter(({ check }) => check === "journal");
    expect(await doctor()).toMatchObject([{ state: "problem" }]);
    expect((await run(side, "receipt", "restored")).code).toBe(2);
    expect((await run(side, "receipt", "restored", "--yes")).code).toBe(0);
    expect((await move(undefined, third)).error).toBeUndefined();
    expect(await doctor()).toEqual([]);
    // It was settled, and is no more.
    expect((await run(side, "receipt", "restored", "--yes")).code).toBe(6);
  });

  // [RCPT-8]
  test("is known for it at an address that is new as well, and told", async () => {
    expect((await moveNext("first")).error).toBeUndefined();
    backUp("destination");
    expect((await moveNext("second")).error).toBeUndefined();
    restore("destination", "home");
    const third = makeSmallVm(join(root, "third"));
    const serving = await serve();
    // Not by the proxy, whose address is the one that has a pin.
    const { address } = serving;
    const { error } = await sendOnce({
      ...{ home: hosts.sourceHome, vm: third.spec, address, secure: true, retryForMs: 0 },
    });
    await stopServing();
    expectRestored(error, "destination");
    expect(existsSync(join(hosts.store, "third"))).toBe(false);
    // It knows from HELLO what it is to be beyond.
    expect((await run("destination", "receipt", "restored", "--yes")).code).toBe(0);
  });

  // [RCPT-8]
  test("names its open sessions, and argues from no receipt until then", async () => {
    await move(unheard);
    const file = await fileOf("source");
    backUp("destination");
    expect((await moveNext("later")).error).toBeUndefined();
    restore("destination", "journal");
    const { code, events } = await run(
      "destination",
      "resolve",
      recordOf("destination").session,
      "--receipt",
      file,
    );
    expect(code).toBe(7);
    const [{ hint } = {}] = events.filter(({ event }) => event === "error");
    expect(hint).toContain(`web1 (${recordOf("destination").session.slice(0, 12)})`);
    expect(recordOf("destination").state).toBe("ready");
    expect((await run("destination", "receipt", "restored", "--yes")).code).toBe(0);
    expect((await resolve("destination", "--receipt", file)).code).toBe(0);
  });

  // [RCPT-6] [RCPT-8]
  test("to a time when it was ready, after it gave the VM up, takes nothing on the RELEASE of that time", async () => {
    await move(unheard);
    const old = await fileOf("source");
    const staging = join(hosts.store, `.migrate-${recordOf("destination").session}`);
    cpSync(staging, join(root, "staging"), { recursive: true });
    backUp("destination");
    expect((await resolve("destination", "--owner", "source")).code).toBe(0);
    expect((await resolve("source", "--owner", "source")).code).toBe(0);
    restore("destination", "journal");
    cpSync(join(root, "staging"), staging, { recursive: true });
    const { code, events } = await resolve("destination", "--receipt", old);
    expect(code).toBe(7);
    expect(events).toContainEqual(expect.objectContaining({ event: "error", code: "in-doubt" }));
    expect(states()).toEqual(["cancelled", "ready"]);
  });
});
