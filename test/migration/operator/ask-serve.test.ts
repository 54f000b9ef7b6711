/** The control socket of a serve: tickets from it, who may connect, and what it makes of strange questions. */
import { expect, test } from "bun:test";
import { lstatSync, mkdirSync, renameSync, symlinkSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import {
  controlFolder,
  controlSocket,
  questionMaxBytes,
} from "../../../src/migration/destination/serving/control-words.ts";
import { askTicket, servesOf } from "../../../src/migration/operator/ask-serve.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import { software } from "../../../src/protocol/software.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { sendOnce, sendWhole } from "../../support/moves/sending.ts";
import { startServing, stopServing } from "../../support/moves/serving.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { until } from "../../support/system/until.ts";

let root: string;
let home: string;
eachTestInFolder("ask-serve", (folder) => {
  root = folder;
  home = join(root, "b");
  return stopServing;
});

const serving = (store: string, secure = true) => startServing({ home, store: join(root, store), secure });

async function failureOf(work: Promise<unknown>): Promise<MigrateError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(MigrateError);
  return thrown as MigrateError;
}

/** What is answered to these bytes, up to the end of the connection. */
async function say(bytes: string): Promise<string> {
  const heard: Buffer[] = [];
  const ended = Promise.withResolvers<void>();
  const socket = createConnection(controlSocket(home, join(root, "store")));
  socket.on("data", (data: Buffer) => void heard.push(data));
  socket.on("error", () => {}).on("close", () => ended.resolve());
  socket.write(bytes);
  await ended.promise;
  return Buffer.concat(heard).toString();
}

test("each ticket that is asked for pairs one more source, and each of them once", async () => {
  const { address } = await serving("store");
  const one = await askTicket(home, { ttlMs: 60_000 });
  const two = await askTicket(home, { ttlMs: 60_000 });
  expect(one).toMatchObject({
    command: `migrate send VM 127.0.0.1:${address.port} --ticket -`,
    store: join(root, "store"),
    ttlMs: 60_000,
    fingerprint: expect.stringMatching(/^sha256:/),
  });
  for (const [index, { ticket }] of [one, two].entries()) {
    const name = `web${index}`;
    const vm = makeSmallVm(join(root, name), { name });
    await sendWhole({ home: join(root, `a${index}`), vm: vm.spec, address, ticket });
  }
  const vm = makeSmallVm(join(root, "web2"), { name: "web2" });
  const again = await sendOnce({ home: join(root, "a2"), vm: vm.spec, address, ticket: one.ticket });
  expect(again.error).toMatchObject({ code: "ticket-used", hint: expect.stringContaining("migrate ticket") });
});

test("a ticket is good for as long as was asked, and no longer", async () => {
  const { address } = await serving("store");
  const { ticket } = await askTicket(home, { ttlMs: 1_000 });
  await Bun.sleep(1_050);
  const vm = makeSmallVm(join(root, "web1"));
  const { error } = await sendOnce({ home: join(root, "a"), vm: vm.spec, address, ticket });
  expect(error).toMatchObject({ code: "ticket-expired" });
});

test("a serve says what it is", async () => {
  const { address } = await serving("store");
  expect(await servesOf(home)).toEqual([
    {
      store: join(root, "store"),
      addresses: [`127.0.0.1:${address.port}`],
      fingerprint: expect.stringMatching(/^sha256:/) as unknown as string,
      version: software,
      pid: process.pid,
      sessions: 0,
      qemu: false,
      libvirt: false,
    },
  ]);
});

test("the socket is this user's alone, even below a home with a long path, and goes with its serve", async () => {
  home = join(root, "l".repeat(150), "home");
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const { stop } = await serving("store");
  const path = controlSocket(home, join(root, "store"));
  expect(lstatSync(path).mode & 0o777).toBe(0o600);
  expect(lstatSync(controlFolder(home)).mode & 0o777).toBe(0o700);
  expect((await askTicket(home, { ttlMs: 60_000 })).ticket).toStartWith("mig1-");
  await stop();
  expect(lstatSync(path, { throwIfNoEntry: false })).toBeUndefined();
});

test("where none runs, or several, or none that takes tickets, it is said, and what to do", async () => {
  const none = await failureOf(askTicket(home, { ttlMs: 60_000 }));
  expect(none).toMatchObject({ code: "policy", message: "no migrate serve of this user runs here" });
  expect(none.hint).toContain("migrate serve --store DIR");

  await serving("plain", false);
  const plain = await failureOf(askTicket(home, { ttlMs: 60_000 }));
  expect(plain.message).toBe(
    `the migrate serve of ${join(root, "plain")} runs with --insecure, and takes no tickets`,
  );

  // One with --insecure is not in the way of one that takes tickets.
  await serving("store");
  expect((await askTicket(home, { ttlMs: 60_000 })).store).toBe(join(root, "store"));

  await serving("other");
  const several = await failureOf(askTicket(home, { ttlMs: 60_000 }));
  expect(several).toMatchObject({ code: "policy", message: "2 of migrate serve run here" });
  expect(several.hint).toBe(`Say which with --store: ${join(root, "other")}, ${join(root, "store")}.`);
  const other = join(root, "link");
  symlinkSync(join(root, "other"), other);
  expect((await askTicket(home, { store: other, ttlMs: 60_000 })).store).toBe(join(root, "other"));
  const nowhere = await failureOf(askTicket(home, { store: join(root, "nowhere"), ttlMs: 60_000 }));
  expect(nowhere.message).toBe(`no migrate serve of this user runs for the store ${join(root, "nowhere")}`);
});

test("what a dead serve left is passed over, and replaced by the next", async () => {
  const path = controlSocket(home, join(root, "store"));
  mkdirSync(controlFolder(home), { recursive: true, mode: 0o700 });
  const dead = Bun.listen({ unix: join(root, "dead"), socket: { data() {} } });
  renameSync(join(root, "dead"), path);
  dead.stop(true);
  expect(await servesOf(home)).toEqual([]);
  await serving("store");
  expect(await servesOf(home)).toHaveLength(1);
});

test("a question that is none is refused, and one that does not end is not heard out", async () => {
  await serving("store");
  const refusal =
    '{"answer":"error","code":"protocol","message":"this serve does not understand what it is asked"}\n';
  for (const question of [
    "nonsense",
    "[]",
    '{"ask":"stop"}',
    '{"ask":"about","more":1}',
    '{"ask":"ticket"}',
    '{"ask":"ticket","ttlMs":999}',
    '{"ask":"ticket","ttlMs":1e12}',
    '{"ask":"ticket","ttlMs":"60000"}',
  ]) {
    expect(await say(`${question}\n`)).toBe(refusal);
  }
  expect(await say("x".repeat(questionMaxBytes))).toBe(refusal);
  // One question a connection: what follows it is not answered.
  expect((await say('{"ask":"about"}\n{"ask":"about"}\n')).split("\n")).toHaveLength(2);
});

test("callers that say nothing keep nobody out for long", async () => {
  await serving("store");
  const idle = Array.from({ length: 16 }, () =>
    createConnection(controlSocket(home, join(root, "store"))).on("error", () => {}),
  );
  let closed = 0;
  for (const socket of idle) socket.on("close", () => closed++);
  await until(() => closed === 16, "them to be sent away", 10_000);
  expect(await servesOf(home)).toHaveLength(1);
}, 20_000);
