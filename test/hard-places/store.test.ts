/** A destination whose store, name or port is not to be had: a clear refusal, and nothing is overwritten. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { resolveSession } from "../../src/migration/operator/resolve.ts";
import { makeSmallVm, type SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved, expectOneOwner, sessionsIn, wholeAtSource } from "../support/moves/ownership.ts";
import { sendOnce } from "../support/moves/sending.ts";
import { startServing } from "../support/moves/serving.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import { runChild } from "../support/system/child.ts";
import { mountsOfEachTest } from "../support/system/mount-namespace.ts";
import { builtBinary, runMigrate } from "../support/system/process.ts";

const newMounts = mountsOfEachTest();
/** By the destination, before anything was sent. */
const refused = { side: "destination", phase: "prepare" };
let root: string;
let vm: SmallVm;
let hosts: TwoHosts;
eachTestHasHosts("migrate-store-", (made) => {
  ({ root, vm, hosts } = made);
});

test("a store on a read-only disk is refused at once, with exit code 6", async () => {
  mkdirSync(hosts.store);
  const namespace = await newMounts([
    `mount --bind '${hosts.store}' '${hosts.store}'`,
    `mount -o remount,ro,bind '${hosts.store}'`,
  ]);
  const serve = hosts.startServe({ binary: [...namespace.enter("/"), builtBinary] });
  expect(await serve.waitFor("error")).toMatchObject({ code: "store-unusable", side: "destination" });
  expect(await serve.exit).toMatchObject({ code: 6 });
});

test("a store that becomes read-only under serve ends send with 6; serve goes on and so does the session", async () => {
  const namespace = await newMounts([]);
  const inside = (...words: string[]) => runChild([...namespace.enter("/"), ...words]);
  const serve = await hosts.serve({ binary: [...namespace.enter("/"), builtBinary] });
  // Over what serve looks at by its path.
  await inside("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", hosts.store);
  const send = hosts.send(vm.folder);
  expect(await send.waitFor("error")).toMatchObject({ code: "store-failed", side: "destination" });
  expect(await send.exit).toMatchObject({ code: 6 });
  expectOneOwner(vm, hosts, "read-only");
  await inside("umount", hosts.store);
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  expectMoved(vm, hosts, "writable again");
  expect(await serve.kill("SIGTERM")).toMatchObject({ code: 0 });
});

test("serve that is given another store in mid-transfer says where the VM lands, at its start and at the end", async () => {
  const first = await hosts.serve();
  const send = hosts.send(vm.folder, ["--bandwidth", "2M"]);
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  await first.kill("SIGTERM");
  const begunIn = hosts.store;
  hosts.store = join(root, "another-store");
  const second = await hosts.serve();
  expect(await second.waitFor("notice")).toMatchObject({
    message: expect.stringContaining(
      `web1 is on its way into ${begunIn}, the store that its move was begun with`,
    ),
    name: "web1",
  });
  expect(await send.exit).toMatchObject({ code: 0 });
  expect(await second.waitFor("done")).toMatchObject({ folder: join(begunIn, "web1") });
  expect(send.events.at(-1)).not.toHaveProperty("folder");
  hosts.store = begunIn;
  expectMoved(vm, hosts, "in the store that it was begun with");
});

test("a store that is a file, and one that another serve has, are refused with exit code 6", async () => {
  writeFileSync(hosts.store, "");
  const onFile = hosts.startServe();
  expect(await onFile.waitFor("error")).toMatchObject({ code: "store-unusable" });
  expect(await onFile.exit).toMatchObject({ code: 6 });
  rmSync(hosts.store);
  const first = await hosts.serve();
  const second = hosts.startServe();
  expect(await second.waitFor("error")).toMatchObject({
    code: "store-unusable",
    message: expect.stringContaining("another migrate serve"),
  });
  expect(await second.exit).toMatchObject({ code: 6 });
  // The one that has it is unharmed.
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  expect(await first.kill("SIGTERM")).toMatchObject({ code: 0 });
});

test("a port that is in use is refused with exit code 6, be it another program's or another serve's", async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as { port: number };
  const serve = await hosts.serve();
  const { address } = await serve.waitFor("listening");
  for (const taken of [`127.0.0.1:${port}`, address]) {
    const words = ["serve", "--listen", taken, "--store", join(root, "other-store"), "--json"];
    const late = runMigrate(words, { home: join(root, "other-home") });
    expect(await late.waitFor("error")).toMatchObject({
      code: "port-in-use",
      side: "destination",
      message: expect.stringContaining("in use"),
    });
    expect(await late.exit).toMatchObject({ code: 6 });
  }
  other.close();
});

test("a name that is taken at the destination is refused with exit code 6, and what has it stays as it is", async () => {
  mkdirSync(join(hosts.store, vm.name), { recursive: true });
  writeFileSync(join(hosts.store, vm.name, "precious"), "precious");
  await hosts.serve();
  const send = hosts.send(vm.folder);
  expect(await send.waitFor("error")).toMatchObject({ code: "name-taken", ...refused });
  expect(await send.exit).toMatchObject({ code: 6 });
  expect(readdirSync(hosts.store).sort()).toEqual([".migrate-lock", vm.name]);
  expect(readFileSync(join(hosts.store, vm.name, "precious"), "utf8")).toBe("precious");
  expect(readdirSync(vm.folder).sort()).toEqual([...vm.files.map(({ base }) => base), "vm.json"].sort());

  // It is the same command that goes through once the name is free.
  rmSync(join(hosts.store, vm.name), { recursive: true });
  expect(await hosts.send(vm.folder).exit).toMatchObject({ code: 0 });
  expectMoved(vm, hosts, "name free");
});

test("a name that another source's session has reserved is refused, and comes free when that one is given up", async () => {
  const here = { sourceHome: join(root, "a"), destinationHome: join(root, "d"), store: join(root, "s") };
  const rival = makeSmallVm(join(root, "rival", vm.name), { seed: 2 });
  const serving = await startServing({ home: here.destinationHome, store: here.store });
  const stopped = new AbortController();
  const first = await sendOnce({
    home: join(root, "rival-home"),
    vm: rival.spec,
    address: serving.address,
    signal: stopped.signal,
    onJournalWrite: (when, label) => {
      if (when === "before" && label === "sealed") stopped.abort();
    },
  });
  expect(first.error?.code).toBe("interrupted");
  const { error } = await sendOnce({ home: here.sourceHome, vm: vm.spec, address: serving.address });
  expect(error).toMatchObject({ code: "name-taken", exitCode: 6 });
  const given = await resolveSession(
    {
      home: join(root, "rival-home"),
      session: sessionsIn(join(root, "rival-home"), "source")[0]!.session,
      decision: "cancel",
      insecure: true,
      passphrase: () => Promise.reject(new Error("there is none")),
      retryForMs: 0,
      signal: new AbortController().signal,
    },
    () => {},
  );
  expect(given).toMatchObject({ state: "cancelled", owner: "source" });
  expect(wholeAtSource(rival)).toBe(rival.folder);
  const again = await sendOnce({ home: here.sourceHome, vm: vm.spec, address: serving.address });
  expect(again.error).toBeUndefined();
  rmSync(join(root, "rival"), { recursive: true });
  expect(readdirSync(here.store).sort()).toEqual([".migrate-lock", vm.name]);
});

test("a name that comes into being after READY is never overwritten: the VM waits, whole, and goes on once it is free", async () => {
  const here = { sourceHome: join(root, "a"), destinationHome: join(root, "d"), store: join(root, "s") };
  const taken = join(here.store, vm.name);
  let once = true;
  const serving = await startServing({
    home: here.destinationHome,
    store: here.store,
    onJournalWrite: (when, label) => {
      if (!once || when !== "after" || label !== "ready") return;
      once = false;
      mkdirSync(taken);
      writeFileSync(join(taken, "precious"), "precious");
    },
  });
  const send = () => sendOnce({ home: here.sourceHome, vm: vm.spec, address: serving.address });
  const { error } = await send();
  expect(error).toMatchObject({ code: "in-doubt", exitCode: 7, message: expect.stringContaining("store") });
  expect(readdirSync(taken)).toEqual(["precious"]);
  // Out of the way, by hand; then one owner, whole, and nothing sent again.
  renameSync(taken, `${taken}-other`);
  expectOneOwner(vm, here, "name taken late");
  const again = await send();
  expect(again.error).toBeUndefined();
  expect(again.done!.chunksSent).toBe(0);
  expectMoved(vm, here, "name free again");
  expect(existsSync(join(`${taken}-other`, "precious"))).toBe(true);
});
