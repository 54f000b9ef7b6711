/** A VM of this host is found by its name alone, wherever this home's sessions and VMs say that stores are. */
import { expect, test } from "bun:test";
import { mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openHome } from "../../../src/home/home.ts";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { recordOfOffer } from "../../../src/migration/journal/offer-record.ts";
import { findVm, knownStores } from "../../../src/migration/operator/find-vm.ts";
import type { MigrateError } from "../../../src/protocol/errors.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";

let folder: string;
let home: string;
eachTestInFolder("find-", (made) => {
  folder = realpathSync(made);
  home = openHome(join(folder, "home"));
});

/** A VM that lies in a store of that name. */
function lay(store: string, name: string, text?: string): string {
  const at = join(folder, store, name);
  mkdirSync(at, { recursive: true });
  const manifest = { format: "migrate-vm/1", name, files: [{ kind: "disk", file: "a.raw" }] };
  writeFileSync(join(at, "vm.json"), text ?? JSON.stringify(manifest));
  return at;
}

let sessions = 0;
/** A session of the journal that brings a VM to a store; `ended` once it is over. */
function bring(store: string, name: string, ended = true): void {
  const journal = Journal.open(home);
  const offer = {
    name,
    vm: crypto.randomUUID(),
    mode: "move",
    tagKey: "00".repeat(16),
    files: [],
    provider: "files",
  };
  const origin = {
    store: join(folder, store),
    peer: "insecure",
    address: "192.0.2.1:1",
    nowMs: 1,
    attempt: 1,
    bytes: 0,
    kept: null,
  };
  const session = String(++sessions).padStart(32, "0");
  journal.write("test", () => {
    journal.insert(recordOfOffer(session, offer as never, origin as never));
    if (ended) journal.update(session, { endedAtMs: 2 });
  });
  journal.close();
}

function refusal(given: string, store?: string): MigrateError {
  try {
    findVm({ home, given, store });
  } catch (thrown) {
    return thrown as MigrateError;
  }
  throw new Error("it was found");
}

test("by its name, in the stores of the journal's sessions and of what ran here, each looked in once", () => {
  const web = lay("one", "web1");
  const db = lay("two", "db1");
  bring("one", "web1");
  bring("one", "gone");
  bring("lost", "gone");
  const run = join(home, "run", "db1");
  mkdirSync(run, { recursive: true });
  symlinkSync(db, join(run, "vm"));
  expect(knownStores(home)).toEqual([join(folder, "one"), join(folder, "two")]);
  expect(findVm({ home, given: "web1" })).toEqual({ name: "web1", folder: web });
  expect(findVm({ home, given: "db1" })).toEqual({ name: "db1", folder: db });
});

test("by its folder, and in a store that is named, whatever the journal knows", () => {
  const web = lay("one", "web1");
  symlinkSync(join(folder, "one"), join(folder, "link"));
  expect(findVm({ home, given: join(folder, "link", "web1") })).toEqual({ name: "web1", folder: web });
  expect(findVm({ home, given: "web1", store: join(folder, "link") })).toEqual({ name: "web1", folder: web });
  expect(refusal("web1").hint).toContain("--store DIR");
  expect(refusal("../one/web1", join(folder, "one")).code).toBe("usage");
  expect(refusal("web1", join(folder, "none")).code).toBe("store-unusable");
});

test("with a broken vm.json too, with what is wrong with it", () => {
  lay("one", "web1", "{");
  bring("one", "web1");
  expect(findVm({ home, given: "web1" }).broken).toContain("is not JSON");
  expect(findVm({ home, given: join(folder, "one", "web1") }).broken).toContain("is not JSON");
});

test("a name that two have is refused with both folders, and the store tells them apart", () => {
  const first = lay("one", "web1");
  const second = lay("two", "web1");
  bring("one", "web1");
  bring("two", "web1");
  expect(refusal("web1")).toMatchObject({
    code: "vm-invalid",
    message: expect.stringContaining(`${first} and ${second}`),
  });
  expect(findVm({ home, given: "web1", store: join(folder, "two") }).folder).toBe(second);
});

test("a name that nobody has is refused with what is there", () => {
  expect(refusal("web1")).toMatchObject({
    code: "vm-invalid",
    message: expect.stringContaining("knows of no store"),
  });
  for (let n = 10; n < 20; n++) lay("one", `vm${n}`);
  bring("one", "vm10");
  const { message, hint } = refusal("web1");
  expect(message).toContain(join(folder, "one"));
  expect(hint).toContain("vm10, vm11, vm12, vm13, vm14, vm15, vm16, vm17 and 2 more");
  expect(refusal("-x").code).toBe("name-invalid");
  // A VM that was moved away, and one without a vm.json, are none.
  mkdirSync(join(folder, "one", "web1"));
  expect(refusal("web1").code).toBe("vm-invalid");
  rmSync(join(folder, "one"), { recursive: true });
  expect(refusal("vm10").message).toContain("knows of no store");
});

test("one that is still on its way here is said to be", () => {
  lay("one", "other");
  bring("one", "web1", false);
  expect(refusal("web1")).toMatchObject({ code: "vm-busy", hint: expect.stringContaining("migrate status") });
});
