/** MIGRATE_HOME restored from a backup, or lost: the VM keeps its one owner, and nothing is removed on the journal's word. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { releaseMark } from "../../src/vm/folder/release-mark.ts";
import { makeSmallVm, type SmallVm } from "../support/files/small-vm.ts";
import { type Hosts, sessionsIn } from "../support/moves/ownership.ts";
import { sendOnce } from "../support/moves/sending.ts";
import { type Serving, startServing, stopServing } from "../support/moves/serving.ts";
import { killChildren } from "../support/system/child.ts";
import { runMigrate } from "../support/system/process.ts";

let root: string;
let vm: SmallVm;
let hosts: Hosts;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "migrate-restored-"));
  vm = makeSmallVm(join(root, "web1"));
  hosts = { sourceHome: join(root, "a"), destinationHome: join(root, "b"), store: join(root, "store") };
});
afterEach(async () => {
  await killChildren();
  await stopServing();
  rmSync(root, { recursive: true, force: true });
});

const backup = (home: string) => `${home}-backup`;

/** Copies the journal as a backup program would, between two of its writes. */
function backUp(home: string): void {
  const database = new Database(join(home, "journal.sqlite"));
  database.run("PRAGMA busy_timeout = 10000");
  database.run(`VACUUM INTO '${join(backup(home), "journal.sqlite")}'`);
  database.close();
}

function restore(home: string): void {
  for (const name of ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"]) {
    rmSync(join(home, name), { force: true });
  }
  if (existsSync(join(backup(home), "journal.sqlite"))) {
    cpSync(join(backup(home), "journal.sqlite"), join(home, "journal.sqlite"));
  }
}

/** Moves the VM, and takes a backup of either home right after its journal has this; null for none at all. */
async function move(source: string | null, destination: string | null, after: "keep" | "rename" = "rename") {
  const at = (home: string, label: string | null) => {
    rmSync(backup(home), { recursive: true, force: true });
    mkdirSync(backup(home));
    return (when: string, written: string) => {
      if (when === "after" && written === label) backUp(home);
    };
  };
  const serving = await startServing({
    home: hosts.destinationHome,
    store: hosts.store,
    onJournalWrite: at(hosts.destinationHome, destination),
  });
  const { error } = await sendOnce({
    home: hosts.sourceHome,
    vm: vm.spec,
    address: serving.address,
    after,
    onJournalWrite: at(hosts.sourceHome, source),
  });
  expect(error).toBeUndefined();
  await stopServing();
}

const serve = (): Promise<Serving> => startServing({ home: hosts.destinationHome, store: hosts.store });
const published = () => join(hosts.store, "web1");

/** Every byte of the VM is at the destination, under its name. */
function expectWholeThere(): void {
  for (const file of vm.files) {
    expect(readFileSync(join(published(), file.base)).equals(readFileSync(movedAway(file.path)))).toBe(true);
  }
}

const movedAway = (path: string) =>
  existsSync(path) ? path : path.replace(vm.folder, `${vm.folder}.migrated`);

const resolve = async (home: string, ...words: string[]) => {
  const session = sessionsIn(home, home === hosts.sourceHome ? "source" : "destination")[0]!.session;
  const process = runMigrate(["resolve", session, "--insecure", "--json", ...words], { home });
  const { code } = await process.exit;
  return { code, events: process.events };
};

const ownersIn = async (home: string): Promise<unknown[]> => {
  const process = runMigrate(["status", "--json"], { home });
  await process.exit;
  return process.events.map((event) => (event as unknown as { owner?: string }).owner);
};

describe("a destination whose journal was restored", () => {
  // [OWN-9]
  test.each(["receiving", "ready"])(
    "to %s keeps what it published, says so, and a person settles it",
    async (label) => {
      await move(null, label);
      restore(hosts.destinationHome);
      const serving = await serve();
      const warning = expect.stringContaining("is older than that");
      expect(serving.events).toContainEqual(
        expect.objectContaining({ event: "warning", message: warning, name: "web1" }),
      );
      expectWholeThere();
      expect(await ownersIn(hosts.destinationHome)).toEqual(["in doubt"]);
      const doctor = runMigrate(["doctor", "--json"], { home: hosts.destinationHome });
      expect(await doctor.exit).toMatchObject({ code: 6 });
      expect(doctor.events).toContainEqual(
        expect.objectContaining({
          check: "sessions",
          state: "problem",
          message: expect.stringContaining("in doubt"),
        }),
      );
      expect((await resolve(hosts.destinationHome, "--cancel")).code).toBe(7);
      expect((await resolve(hosts.destinationHome, "--owner", "source")).code).toBe(7);
      expectWholeThere();
      expect((await resolve(hosts.destinationHome, "--owner", "destination")).code).toBe(0);
      expectWholeThere();
      expect(sessionsIn(hosts.destinationHome, "destination")).toMatchObject([{ state: "owner" }]);
    },
  );

  // [OWN-9]
  test("while the source's was, too, is not told to remove the VM", async () => {
    await move("sealed", "receiving", "keep");
    restore(hosts.destinationHome);
    restore(hosts.sourceHome);
    const serving = await serve();
    const { error } = await sendOnce({ home: hosts.sourceHome, vm: vm.spec, address: serving.address });
    expect(error).toMatchObject({ code: "in-doubt" });
    expectWholeThere();
  });

  // [OWN-9]
  test("to nothing at all answers in doubt, and a cancellation removes nothing", async () => {
    await move("released", null, "keep");
    restore(hosts.destinationHome);
    restore(hosts.sourceHome);
    const serving = await serve();
    const asked = await sendOnce({ home: hosts.sourceHome, vm: vm.spec, address: serving.address });
    expect(asked.error).toMatchObject({ code: "in-doubt", exitCode: 7 });
    expect((await resolve(hosts.sourceHome, "--owner", "source")).code).toBe(0);
    expectWholeThere();
  });
});

describe("a source whose journal was restored", () => {
  // [OWN-8]
  test("to a time before the release knows from the files that it released the VM, and does not send it", async () => {
    await move("sealed", null, "keep");
    restore(hosts.sourceHome);
    expect(sessionsIn(hosts.sourceHome, "source")).toMatchObject([{ state: "sending" }]);
    const serving = await serve();
    // It listens elsewhere now: only the host that the VM was released to can say what became of it.
    const { error } = await sendOnce({ home: hosts.sourceHome, vm: vm.spec, address: serving.address });
    expect(error).toMatchObject({ code: "in-doubt", exitCode: 7 });
    expect(sessionsIn(hosts.sourceHome, "source")).toMatchObject([{ state: "released" }]);
    expectWholeThere();
  });

  // [OWN-8]
  test.each(["another host", "the same host"])("to nothing does not send the VM to %s", async (where) => {
    await move("nothing", null, "keep");
    restore(hosts.sourceHome);
    const serving = await startServing({
      home: where === "the same host" ? hosts.destinationHome : join(root, "c"),
      store: where === "the same host" ? hosts.store : join(root, "other-store"),
    });
    const { error } = await sendOnce({ home: hosts.sourceHome, vm: vm.spec, address: serving.address });
    expect(error).toMatchObject({ code: "not-owner", exitCode: 7 });
    expect(error?.hint).toContain("setfattr -x user.migrate.released");
    expect(sessionsIn(hosts.sourceHome, "source")).toEqual([]);
  });

  // [OWN-8]
  test("or lost does not give the VM up by a person's word that it never was released", async () => {
    await move("sealed", null, "keep");
    restore(hosts.sourceHome);
    expect((await resolve(hosts.sourceHome, "--cancel")).code).toBe(6);
    expect(sessionsIn(hosts.sourceHome, "source")).toMatchObject([{ state: "released" }]);
  });
});

test("a move that is given back takes its marks off, and the VM can be sent anew", async () => {
  const serving = await startServing({
    home: hosts.destinationHome,
    store: hosts.store,
    onJournalWrite: (when, label) => {
      // The destination goes away for good as it is told of the release.
      if (when === "before" && label === "owner") throw new Error("gone");
    },
  });
  const { error } = await sendOnce({
    home: hosts.sourceHome,
    vm: vm.spec,
    address: serving.address,
    retryForMs: 0,
  });
  expect(error?.code).toBe("in-doubt");
  expect(vm.files.map(({ path }) => releaseMark(path)?.to)).toEqual(vm.files.map(() => "insecure"));
  expect((await resolve(hosts.sourceHome, "--owner", "source")).code).toBe(0);
  expect(vm.files.map(({ path }) => releaseMark(path))).toEqual(vm.files.map(() => null));
});
