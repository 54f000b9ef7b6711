/** What a source may bring, and until when: refused at the offer, before a byte of the VM, and by no other's doing. */
import { expect, test } from "bun:test";
import { readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadIdentity } from "../../../../src/channel/identity.ts";
import { TrustFile } from "../../../../src/channel/trust.ts";
import { openHome } from "../../../../src/home/home.ts";
import { measureAt } from "../../../../src/migration/source/measure-at.ts";
import { hashOf, makeSmallVm, type SmallVm } from "../../../support/files/small-vm.ts";
import { CuttingProxy } from "../../../support/moves/cutting-proxy.ts";
import { type SendingOptions, sendOnce, sendWhole } from "../../../support/moves/sending.ts";
import {
  type Serving,
  type ServingOptions,
  startServing,
  stopServing,
} from "../../../support/moves/serving.ts";
import { eachTestInFolder } from "../../../support/system/test-folder.ts";

const day = 24 * 3_600_000;

let root: string;
let serving: Serving;
const proxies: CuttingProxy[] = [];
eachTestInFolder("source-terms", (folder) => {
  root = folder;
  return async () => {
    await stopServing();
    for (const proxy of proxies.splice(0)) await proxy.close();
  };
});

const source = () => join(root, "a");
const store = () => join(root, "store");
const fingerprint = async (home: string) =>
  (await loadIdentity(openHome(home), { passphrase: () => Promise.reject(new Error("none")) })).fingerprint;

/** A destination that trusts the source on these terms, and the other way round. */
async function trusting(terms: string, options: Partial<ServingOptions> = {}): Promise<string> {
  const [peer, own] = [await fingerprint(source()), await fingerprint(join(root, "b"))];
  setTerms(peer, terms);
  serving = await startServing({ home: join(root, "b"), store: store(), secure: true, ...options });
  await TrustFile.load(source()).add(own, "destination", name());
  return peer;
}

const name = () => `127.0.0.1:${serving.address.port}`;
const setTerms = (peer: string, terms: string) =>
  writeFileSync(join(root, "b", "trust"), `${peer} source hosta ${terms}\n`, { mode: 0o600 });

const made = (vm: string): SmallVm => makeSmallVm(join(root, vm), { name: vm });
const send = (vm: SmallVm, change: Partial<SendingOptions> = {}) =>
  sendOnce({ home: source(), vm: vm.spec, address: serving.address, secure: true, ...change });
const arrived = (vm: SmallVm) =>
  vm.files.every(({ base, hash }) => hashOf(join(store(), vm.name, base)) === hash);

/** Entries of the store that are VMs, or on the way to be. */
const inStore = () => readdirSync(store()).filter((entry) => entry !== ".migrate-lock");

test("a VM that is larger than the source may bring is refused, and one of that size is not", async () => {
  const vm = made("web1");
  const bytes = vm.files.reduce((sum, file) => sum + file.bytes, 0);
  const peer = await trusting(`max-bytes=${bytes - 1}`);
  const { error, events } = await send(vm);
  expect(error).toMatchObject({
    code: "limit",
    side: "destination",
    message: `the VM has ${bytes} bytes, and the destination takes ${bytes - 1} from this source`,
  });
  expect(events.some((event) => event.event === "progress" && event.wireBytes > 0)).toBe(false);
  expect(inStore()).toEqual([]);
  // An edit takes effect in the serve that runs.
  setTerms(peer, `max-bytes=${bytes}`);
  expect((await send(vm)).error).toBeUndefined();
  expect(arrived(vm)).toBe(true);
});

test("so many VMs of a source lie here and no more; one that was moved on makes room, and others' are not counted", async () => {
  await trusting("max-vms=2");
  // Another source's.
  const others = made("other");
  await sendWhole({
    home: join(root, "c"),
    vm: others.spec,
    address: serving.address,
    ticket: serving.ticket,
  });
  for (const vm of ["web1", "web2"]) expect((await send(made(vm))).error).toBeUndefined();
  const third = made("web3");
  const { error } = await send(third);
  expect(error).toMatchObject({
    code: "limit",
    message: "the destination has 2 VMs of this source already, and takes 2 from it",
  });
  expect(inStore().sort()).toEqual(["other", "web1", "web2"]);
  renameSync(join(store(), "web1"), join(store(), "web1.migrated"));
  expect((await send(third)).error).toBeUndefined();
  expect((await send(made("web4"))).error).toMatchObject({ code: "limit" });
  // The store is what counts, not the memory of a serve.
  await serving.stop();
  serving = await startServing({ home: join(root, "b"), store: store(), secure: true });
  const own = await fingerprint(join(root, "b"));
  await TrustFile.load(source()).add(own, "destination", name());
  expect((await send(made("web5"))).error).toMatchObject({ code: "limit" });
  rmSync(join(store(), "web2"), { recursive: true });
  expect((await send(made("web6"))).error).toBeUndefined();
});

/** Sends a VM until some of it has come, and then leaves it there, under way. */
async function begun(vm: SmallVm): Promise<void> {
  const controller = new AbortController();
  const { error } = await send(vm, {
    lanes: 1,
    bandwidthBytesPerSec: 512 * 1024,
    compression: "off",
    signal: controller.signal,
    observe: (event) => {
      if (event.event === "progress" && event.doneBytes > 0) controller.abort();
    },
  });
  expect(error).toBeDefined();
}

test("so many sessions of a source are open at a time, and what is under way counts as a VM as well", async () => {
  const peer = await trusting("max-sessions=1");
  const first = made("web1");
  await begun(first);
  const second = made("web2");
  expect((await send(second)).error).toMatchObject({
    code: "busy",
    message: "the destination has a session of this source already, and takes 1 at a time",
  });
  setTerms(peer, "max-vms=1");
  expect((await send(second)).error).toMatchObject({ code: "limit" });
  // The one that is under way is not in its own way.
  setTerms(peer, "max-sessions=1 max-vms=1");
  expect((await send(first)).error).toBeUndefined();
  expect(arrived(first)).toBe(true);
});

test("a source whose time is over begins nothing, and both sides say since when", async () => {
  const nowMs = Date.now();
  const over = new Date(nowMs - 10 * day).toISOString().slice(0, 10);
  await trusting(`expires=${over}`);
  const vm = made("web1");
  const { error, events } = await send(vm);
  expect(error).toMatchObject({
    code: "not-trusted",
    side: "destination",
    message: `${name()} does not take VMs from this host any more: its trust expired on ${over}`,
  });
  expect(events.filter(({ event }) => event === "session")).toEqual([]);
  expect(serving.events).toContainEqual({
    event: "warning",
    message: `127.0.0.1: the trust in ${await fingerprint(source())} expired on ${over}`,
  });
  expect(inStore()).toEqual([]);
  // A ticket is a person's word, and newer.
  expect((await send(vm, { ticket: serving.ticket })).error).toBeUndefined();
  expect((await send(made("web2"))).error).toBeUndefined();
});

test("what is under way when the time ends runs to its end, cut or not, and nothing else begins with it", async () => {
  let aheadMs = 0;
  const until = new Date(Date.now() + day).toISOString().slice(0, 10);
  await trusting(`expires=${until}`, { now: () => Date.now() + aheadMs });
  const vm = made("web1");
  await begun(vm);
  aheadMs = 3 * day;
  const other = made("web2");
  expect((await send(other)).error).toMatchObject({ code: "not-trusted" });
  expect((await send(vm)).error).toBeUndefined();
  expect(arrived(vm)).toBe(true);
  // A clock that is set back gives no time back.
  aheadMs = 0;
  expect((await send(other)).error).toMatchObject({ code: "not-trusted" });
  expect(inStore()).toEqual(["web1"]);
});

test("a connection that stood when the time ended begins no session, and measures nothing", async () => {
  let aheadMs = 0;
  const until = new Date(Date.now() + day).toISOString().slice(0, 10);
  await trusting(`expires=${until}`, { now: () => Date.now() + aheadMs });
  const proxy = await CuttingProxy.open({ target: () => serving.address, parseFrames: false });
  proxies.push(proxy);
  const { error } = await send(made("web1"), {
    address: proxy.address,
    observe: (event) => {
      // It is said once WELCOME has come, before the VM is offered.
      if (event.event === "notice" && event.message.includes("by its fingerprint")) aheadMs = 3 * day;
    },
  });
  expect(aheadMs).toBe(3 * day);
  expect(error).toMatchObject({
    code: "not-trusted",
    side: "destination",
    message: `the destination's trust in this source expired on ${until}`,
  });
  expect(inStore()).toEqual([]);
  aheadMs = 0;
  await serving.stop();
  serving = await startServing({
    home: join(root, "b"),
    store: store(),
    secure: true,
    now: () => Date.now() + aheadMs,
  });
  const measuring = await measureAt({
    home: source(),
    address: proxy.address,
    passphrase: () => Promise.reject(new Error("none")),
    request: { source: await fingerprint(source()), mostBytes: 1 },
    notice: () => {
      aheadMs = 3 * day;
    },
  }).catch((thrown: unknown) => thrown);
  expect(measuring).toMatchObject({ code: "not-trusted", side: "destination" });
});

test("a destination whose time is over is not called, whatever the address, and a ticket of it is believed", async () => {
  await trusting("");
  const own = await fingerprint(join(root, "b"));
  const line = (at: string) => `${own} destination ${at} expires=2020-01-31\n`;
  const trust = join(source(), "trust");
  writeFileSync(trust, line(name()), { mode: 0o600 });
  const vm = made("web1");
  expect((await send(vm)).error).toMatchObject({
    code: "not-trusted",
    side: "source",
    message: `this host's trust in ${name()} expired on 2020-01-31`,
    hint: expect.stringContaining("--expires"),
  });
  // Somebody else who is trusted is no reason to believe it at another address.
  writeFileSync(trust, `${line("hostb:7600")}sha256:${"cc".repeat(32)} destination hostc:7600\n`);
  expect((await send(vm)).error).toMatchObject({
    code: "not-trusted",
    message: `this host's trust in ${name()} expired on 2020-01-31`,
  });
  expect((await send(vm, { ticket: serving.ticket })).error).toBeUndefined();
  expect(TrustFile.load(source()).standing(own, "destination")).toBe("trusted");
});
