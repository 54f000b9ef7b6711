/** A destination that listens on a unix socket: whose it is, who can reach it, and that VMs come through it. */
import { expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { DeliveryWatch } from "../../../src/channel/delivery-watch.ts";
import { dial } from "../../../src/channel/dial.ts";
import { unix } from "../../../src/channel/transport/unix.ts";
import { TrustFile } from "../../../src/channel/trust.ts";
import { runProgram } from "../../../src/commands/cli/program.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { DoorPool } from "../../../src/transfer/doors/door-pool.ts";
import { commandTree, TestWorld } from "../../commands/world.ts";
import { hashOf, makeSmallVm, type SmallVm } from "../../support/files/small-vm.ts";
import { sendOnce, sendWhole } from "../../support/moves/sending.ts";
import { startServing, stopServing } from "../../support/moves/serving.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { until } from "../../support/system/until.ts";

let root: string;
eachTestInFolder("unix-doors", async (folder) => {
  root = folder;
  return stopServing;
});

const name = "ssh://root@hostb/srv/vms";

async function serving(path: string, home = "b") {
  return await startServing({
    home: join(root, home),
    store: join(root, `${home}-store`),
    unix: path,
    secure: true,
  });
}

const arrived = (vm: SmallVm, store = join(root, "b-store")) =>
  vm.files.every(({ base, hash }) => hashOf(join(store, vm.name, base)) === hash);

async function failureOf(work: Promise<unknown>): Promise<MigrateError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(MigrateError);
  return thrown as MigrateError;
}

test("a VM comes through a unix socket, over TLS and with its pin, and the source knows it by name", async () => {
  const path = join(root, "door");
  const { ticket, events } = await serving(path);
  expect(events[0]).toMatchObject({ address: expect.stringMatching(/^127\.0\.0\.1:\d+, unix:\//) });
  expect(lstatSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(root).filter((entry) => entry.startsWith("."))).toEqual([]);
  const first = makeSmallVm(join(root, "web1"));
  const home = join(root, "a");
  await sendWhole({ home, vm: first.spec, address: { unix: path, name }, ticket, lanes: 4 });
  expect(arrived(first)).toBe(true);
  const trusted = TrustFile.load(home);
  const peer = trusted.knownDestination(name);
  expect(peer).toMatch(/^sha256:/);
  // The name leads there by another socket as well, and needs no ticket.
  const link = join(root, "elsewhere");
  symlinkSync(path, link);
  const second = makeSmallVm(join(root, "web2"), { name: "web2" });
  const sent = await sendWhole({ home, vm: second.spec, address: { unix: link, name }, secure: true });
  expect(sent.events).toContainEqual(
    expect.objectContaining({ event: "session", side: "source", peer: peer! }),
  );
  expect(TrustFile.load(join(root, "b")).peers()).toMatchObject([{ roles: ["source"], name: "unix" }]);
});

test("another host behind the same name is not spoken to", async () => {
  const { ticket } = await serving(join(root, "one"));
  await serving(join(root, "other"), "c");
  const home = join(root, "a");
  const vm = makeSmallVm(join(root, "web1"));
  await sendWhole({ home, vm: vm.spec, address: { unix: join(root, "one"), name }, ticket, copy: true });
  const next = makeSmallVm(join(root, "web2"), { name: "web2" });
  const { error } = await sendOnce({
    home,
    vm: next.spec,
    address: { unix: join(root, "other"), name },
    secure: true,
    retryForMs: 0,
  });
  expect(error).toMatchObject({ code: "wrong-identity", message: expect.stringContaining(name) });
});

test("paths longer than sun_path will do", async () => {
  const folder = join(root, "l".repeat(150));
  mkdirSync(folder);
  const path = join(folder, "door");
  const { ticket } = await serving(path);
  const vm = makeSmallVm(join(root, "web1"));
  await sendWhole({ home: join(root, "a"), vm: vm.spec, address: { unix: path, name }, ticket });
  expect(arrived(vm)).toBe(true);
});

test("the socket goes with its serve, and one of a dead serve is replaced", async () => {
  const path = join(root, "door");
  const live = await serving(path);
  await live.stop();
  expect(existsSync(path)).toBe(false);
  // Whoever is killed leaves its socket behind.
  const dead = Bun.listen({ unix: `${path}.dead`, socket: { data() {} } });
  renameSync(`${path}.dead`, path);
  dead.stop(true);
  chmodSync(path, 0o777);
  await serving(path);
  expect(lstatSync(path).mode & 0o777).toBe(0o600);
});

test("a live socket is refused, and so is a file that is none; both stay as they are", async () => {
  const path = join(root, "door");
  await serving(path);
  const { ino } = lstatSync(path);
  const error = await failureOf(serving(path, "c"));
  expect(error).toMatchObject({ code: "port-in-use", side: "destination", hint: expect.any(String) });
  expect(error.message).toBe(`somebody listens on unix:${path} already`);
  expect(lstatSync(path).ino).toBe(ino);
  const file = join(root, "file");
  writeFileSync(file, "mine");
  expect(await failureOf(serving(file, "c"))).toMatchObject({
    code: "port-in-use",
    message: `unix:${file} is no socket`,
  });
  expect(readFileSync(file, "utf8")).toBe("mine");
  const nowhere = join(root, "nowhere/door");
  expect((await failureOf(serving(nowhere, "c"))).message).toStartWith(`cannot listen on unix:${nowhere}: `);
});

test("of two that begin at once on one path, one listens", async () => {
  const path = join(root, "door");
  const both = await Promise.allSettled([serving(path, "b"), serving(path, "c")]);
  expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
});

test("strangers on a unix socket are one group, and lock nobody out who comes by TCP", async () => {
  const path = join(root, "door");
  const { address, ticket } = await serving(path);
  const idle = Array.from({ length: 80 }, () => createConnection(path));
  let closed = 0;
  for (const socket of idle) socket.on("error", () => {}).on("close", () => closed++);
  try {
    await until(() => closed > 0, "one of too many to be sent away");
    const vm = makeSmallVm(join(root, "web1"));
    await sendWhole({ home: join(root, "a"), vm: vm.spec, address, ticket });
  } finally {
    for (const socket of idle) socket.destroy();
  }
});

test("one who takes nothing off the socket is told of as what carries it, not as a link of a small MTU", async () => {
  const path = join(root, "stuck");
  const server = Bun.listen({ unix: path, socket: { open: (socket) => socket.pause(), data() {} } });
  try {
    const link = await dial(unix({ unix: path, name }), {
      place: name,
      credentials: null,
      standing: "control",
      checkPeer: () => null,
    });
    const watch = new DeliveryWatch(link, { limitMs: 1000, waitsForRoom: false }, 0);
    void link.send(Buffer.alloc(4096))?.catch(() => {});
    watch.look(true, 10);
    expect(watch.look(true, 500)).toBeNull();
    expect(watch.look(true, 2000)).toMatchObject({
      code: "network",
      message: expect.stringContaining(`the link to ${name} takes data and nobody there answers it`),
    });
    link.destroy();
  } finally {
    server.stop(true);
  }
});

test("two sockets in one folder are two doors, and one that is given twice is refused", async () => {
  const places = ["one", "other"].map((path) => ({ unix: join(root, path) }));
  const doors = await DoorPool.open({
    listen: places,
    credentials: null,
    workers: 2,
    receive: () => {},
    broken: () => {},
  });
  expect(doors.places).toEqual(places);
  for (const { unix: path } of places) expect(lstatSync(path).isSocket()).toBe(true);
  await doors.stop();
  for (const { unix: path } of places) expect(existsSync(path)).toBe(false);

  const world = new TestWorld();
  const serve = (...listen: string[]) => {
    const words = ["serve", "--store", join(root, "store"), ...listen.flatMap((at) => ["--listen", at])];
    return runProgram(commandTree("serve"), words, world);
  };
  try {
    expect(await serve("unix:/run/m", "unix:/run/../run/m")).toBe(2);
    expect(world.take().stderr).toContain("--listen unix:/run/m is given twice");
    expect(await serve("unix:/run/m", "127.0.0.1:0", "[::1]:0")).toBe(2);
    expect(world.take().stderr).toContain("--listen may be given 2 times at most");
  } finally {
    world.remove();
  }
});
