/** Who may answer at an address: the host of its pin, or, where there is none, any destination that is trusted. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { loadIdentity } from "../../src/channel/identity.ts";
import { TrustFile } from "../../src/channel/trust.ts";
import { openHome } from "../../src/home/home.ts";
import { makeSmallVm } from "../support/files/small-vm.ts";
import { CuttingProxy } from "../support/moves/cutting-proxy.ts";
import { sendOnce, sendWhole } from "../support/moves/sending.ts";
import { type Serving, startServing, stopServing } from "../support/moves/serving.ts";
import { eachTestInFolder } from "../support/system/test-folder.ts";

let root: string;
let home: string;
const proxies: CuttingProxy[] = [];
eachTestInFolder("known-destination", (folder) => {
  root = folder;
  home = join(root, "a");
  return async () => {
    await stopServing();
    for (const proxy of proxies.splice(0)) await proxy.close();
  };
});

interface Host extends Serving {
  store: string;
  fingerprint: string;
  name: string;
}

async function host(name: string): Promise<Host> {
  const at = join(root, name);
  const serving = await startServing({ home: at, store: join(root, `${name}-store`), secure: true });
  const { fingerprint } = await loadIdentity(at, { passphrase: () => Promise.reject(new Error("none")) });
  const { port } = serving.address;
  return { ...serving, store: join(root, `${name}-store`), fingerprint, name: `127.0.0.1:${port}` };
}

/** Pairs the source with a host, which takes a VM of this name from it. */
async function paired(name: string): Promise<Host> {
  const to = await host(name);
  await sendWhole({ ...vmOf(`${name}-first`), home, address: to.address, ticket: to.ticket });
  return to;
}

const vmOf = (name: string) => ({ vm: makeSmallVm(join(root, name), { name }).spec, home });

/** Another address that leads to a host. */
async function alias(target: () => Host): Promise<CuttingProxy> {
  const proxy = await CuttingProxy.open({ target: () => target().address, parseFrames: false });
  proxies.push(proxy);
  return proxy;
}

test("a host that is trusted is known at an address that is new, and named before anything is offered", async () => {
  const b = await paired("b");
  const elsewhere = await alias(() => b);
  const { events } = await sendWhole({ ...vmOf("web1"), address: elsewhere.address, secure: true });
  const said = events.findIndex(
    (event) =>
      event.event === "notice" &&
      event.message === `${elsewhere.addressText} is ${b.name}, by its fingerprint ${b.fingerprint}`,
  );
  expect(said).toBeGreaterThanOrEqual(0);
  expect(said).toBeLessThan(events.findIndex(({ event }) => event === "session"));
  expect(existsSync(join(b.store, "web1"))).toBe(true);
  // Nothing was learned by it: the address has no pin yet.
  expect(TrustFile.load(home).knownDestination(elsewhere.addressText)).toBeNull();
});

test("a host that is not trusted is refused there by its fingerprint, before a word is said", async () => {
  await paired("b");
  const stranger = await host("c");
  const { error, events } = await sendOnce({ ...vmOf("web1"), address: stranger.address, secure: true });
  expect(error).toMatchObject({
    code: "not-trusted",
    side: "source",
    message: `${stranger.name} is not a destination that this host knows: it shows ${stranger.fingerprint}`,
  });
  expect(events.filter(({ event }) => event === "session" || event === "notice")).toEqual([]);
  expect(stranger.events.map(({ event }) => event)).not.toContain("warning");
});

test("one that is trusted as a source alone is no destination", async () => {
  await paired("b");
  const c = await host("c");
  await TrustFile.load(home).add(c.fingerprint, "source", c.name);
  const { error } = await sendOnce({ ...vmOf("web1"), address: c.address, secure: true });
  expect(error).toMatchObject({ code: "not-trusted" });
});

test("an address with a pin is answered by its host alone, however trusted the other is", async () => {
  const b = await paired("b");
  const c = await paired("c");
  let there = b;
  const moving = await alias(() => there);
  await TrustFile.load(home).add(b.fingerprint, "destination", moving.addressText);
  await sendWhole({ ...vmOf("web1"), address: moving.address, secure: true });
  there = c;
  const { error } = await sendOnce({ ...vmOf("web2"), address: moving.address, secure: true, retryForMs: 0 });
  expect(error).toMatchObject({ code: "wrong-identity", message: expect.stringContaining(c.fingerprint) });
  expect(existsSync(join(c.store, "web2"))).toBe(false);
});

test("a ticket is for the host that made it, whoever else is trusted", async () => {
  await paired("b");
  const c = await host("c");
  const b = await host("d");
  const elsewhere = await alias(() => b);
  const { error } = await sendOnce({ ...vmOf("web1"), address: elsewhere.address, ticket: c.ticket });
  expect(error).toMatchObject({
    code: "wrong-identity",
    message: expect.stringContaining("made this ticket"),
  });
});

test("who has answered is who the session is with: another one that is trusted is not spoken to after a cut", async () => {
  const b = await paired("b");
  const c = await paired("c");
  let there = b;
  const moving = await alias(() => there);
  const vm = vmOf("web1");
  let cut = false;
  const { error } = await sendOnce({
    ...vm,
    address: moving.address,
    secure: true,
    lanes: 1,
    bandwidthBytesPerSec: 1024 ** 2,
    retryForMs: 3_000,
    observe: (event) => {
      if (cut || event.event !== "progress" || event.doneBytes === 0) return;
      cut = true;
      there = c;
      moving.breakAll();
    },
  });
  expect(cut).toBe(true);
  expect(error).toMatchObject({ code: "wrong-identity" });
  expect(existsSync(join(c.store, "web1"))).toBe(false);
});

test("with nobody trusted an address that is new is not even dialled", async () => {
  openHome(home);
  const b = await host("b");
  const elsewhere = await alias(() => b);
  const { error } = await sendOnce({ ...vmOf("web1"), address: elsewhere.address, secure: true });
  expect(error).toMatchObject({
    code: "not-trusted",
    message: `${elsewhere.addressText} is not a destination that this host knows`,
  });
});
