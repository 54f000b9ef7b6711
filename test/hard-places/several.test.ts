/** More than one at a time: one VM sent twice, many VMs to one serve, and the limits that are set. */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { openHome } from "../../src/home/home.ts";
import { Journal, type SessionRecord } from "../../src/migration/journal/journal.ts";
import { filesCandidate } from "../../src/migration/providers/files/leaving-files.ts";
import { claimSession } from "../../src/migration/source/claim.ts";
import { makeSmallVm, type SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved, expectOneOwner, sessionsIn } from "../support/moves/ownership.ts";
import { sendOnce } from "../support/moves/sending.ts";
import { startServing } from "../support/moves/serving.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import { runMigrate } from "../support/system/process.ts";

let root: string;
let vm: SmallVm;
let hosts: TwoHosts;

eachTestHasHosts("migrate-several-", (made) => {
  ({ root, vm, hosts } = made);
});

/** What another process writes down that begins to send the VM elsewhere. */
async function recordOfAnotherSend(sent: SmallVm): Promise<SessionRecord> {
  const home = openHome(join(root, "other-home"));
  const journal = Journal.open(home);
  const claim = await claimSession(
    filesCandidate(sent.spec as { folder: string }, "move"),
    { address: "127.0.0.1:9", mode: "move", after: "rename" },
    { home, journal, identity: async () => null, observe: () => {}, now: () => Date.now() },
  );
  claim.release();
  journal.close();
  return claim.record;
}

test("a second send of a VM, to the same destination or to another one, is refused with 6 and harms nothing", async () => {
  await hosts.serve();
  const first = hosts.send(vm.folder, ["--bandwidth", "2M"]);
  await first.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  const other = ["send", vm.folder, "127.0.0.1:9", "--insecure"];
  const byFiles = hosts.sendFiles(["--name", "another-name", "--disk", vm.files[1]!.path]);
  for (const second of [
    hosts.send(vm.folder),
    hosts.source(other),
    hosts.send(vm.folder, ["--copy"]),
    byFiles,
  ]) {
    expect(await second.waitFor("error")).toMatchObject({ code: "vm-busy", side: "source" });
    expect(await second.exit).toEqual({ code: 6, signal: null });
  }
  expect(await first.exit).toEqual({ code: 0, signal: null });
  expectMoved(vm, hosts, "the first one");
});

test("of two sends that begin in the same instant, one goes on: there is never a second session of one VM", async () => {
  const home = join(root, "home");
  const serving = await startServing({ home: join(root, "there"), store: join(root, "store") });
  const rivals: string[] = [];
  const rival = await recordOfAnotherSend(vm);
  const { error } = await sendOnce({
    home,
    vm: vm.spec,
    address: serving.address,
    onJournalWrite: (when, label) => {
      if (when !== "before" || label !== "sending" || rivals.length > 0) return;
      // Between the look and the write, another process begins to send it elsewhere.
      const journal = Journal.open(home);
      journal.write("test", () => journal.insert(rival));
      rivals.push(rival.session);
      journal.close();
    },
  });
  expect(error).toMatchObject({ code: "vm-busy", exitCode: 6, session: rivals[0], vm: vm.name });
  expect(sessionsIn(home, "source").map(({ session }) => session)).toEqual(rivals);
  expect(sessionsIn(join(root, "there"), "destination")).toEqual([]);
});

test("sixteen sends of one VM at once move it once", async () => {
  await hosts.serve();
  // The one that comes first pairs the hosts.
  const other = makeSmallVm(join(root, "other"), { seed: 2 });
  expect(await hosts.send(other.folder).exit).toMatchObject({ code: 0 });
  const sends = Array.from({ length: 16 }, () => hosts.send(vm.folder));
  const codes = (await Promise.all(sends.map(({ exit }) => exit))).map(({ code }) => code);
  expect(codes.filter((code) => code === 0)).toEqual([0]);
  // Refused while it went on, or told afterwards that it is not the owner any more.
  for (const code of codes) expect(code).toBeOneOf([0, 6, 7]);
  expectMoved(vm, hosts, "sixteen");
});

test("eight VMs at once to one serve all arrive", async () => {
  const serve = await hosts.serve();
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  const vms = Array.from({ length: 8 }, (_, i) => makeSmallVm(join(root, `vm${i}`), { seed: 10 + i }));
  const sends = vms.map((each) => hosts.send(each.folder, ["--streams", "2"]));
  for (const [i, send] of sends.entries()) {
    expect(await send.exit, send.stdout()).toEqual({ code: 0, signal: null });
    expectMoved(vms[i]!, hosts, `vm${i}`);
  }
  expect(readdirSync(hosts.store).sort()).toEqual(
    [".migrate-lock", ...vms.map(({ name }) => name), vm.name].sort(),
  );
  expect(await serve.kill("SIGTERM")).toEqual({ code: 0, signal: null });
});

test("--max-sessions refuses one more with 6, and takes it once there is room", async () => {
  await hosts.serve({ flags: ["--max-sessions", "1"] });
  const first = hosts.send(vm.folder, ["--bandwidth", "1M"]);
  await first.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  const other = makeSmallVm(join(root, "other"), { seed: 2 });
  const second = hosts.send(other.folder);
  expect(await second.waitFor("error")).toMatchObject({ code: "busy", side: "destination" });
  expect(await second.exit).toMatchObject({ code: 6 });
  expectOneOwner(other, hosts, "no room");
  expect(await first.exit).toMatchObject({ code: 0 });
  expect(await hosts.send(other.folder).exit).toMatchObject({ code: 0 });
  expectMoved(vm, hosts, "first");
  expectMoved(other, hosts, "second");
});

test("--once ends serve with 0 after one VM, not after one connection", async () => {
  const serve = await hosts.serve({ flags: ["--once"] });
  const broken = hosts.send(vm.folder, ["--bandwidth", "1M"]);
  await broken.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  await broken.kill();
  expect(await hosts.source(["status", hosts.proxy.addressText]).exit).toMatchObject({ code: 0 });
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  expect(await serve.exit).toEqual({ code: 0, signal: null });
  expect(serve.events.at(-1)).toMatchObject({ event: "done", name: vm.name, side: "destination" });
  expectMoved(vm, hosts, "once");
});

test("two serves on two stores of one host do not meddle with each other's sessions", async () => {
  await hosts.serve();
  const send = hosts.send(vm.folder, ["--bandwidth", "1M"]);
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  await send.kill();
  const words = ["serve", "--listen", "127.0.0.1:0", "--store", join(root, "second"), "--insecure", "--json"];
  const second = runMigrate(words, { home: hosts.destinationHome });
  await second.waitFor("listening");
  expect(await second.kill("SIGTERM")).toMatchObject({ code: 0 });
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  expectMoved(vm, hosts, "two serves");
});
