/** SIGINT and SIGTERM at every phase: what can be stopped stops at once, what cannot settles. */
import { expect, test } from "bun:test";
import { closeSync, constants, openSync, writeFileSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved, expectOneOwner, sessionsIn } from "../support/moves/ownership.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import { runChild } from "../support/system/child.ts";
import { withDeadline } from "../support/system/deadline.ts";
import { type MigrateProcess, runMigrate } from "../support/system/process.ts";
import { until } from "../support/system/until.ts";

/** "At once", for a machine that has other things to do: far below the deadlines of a link (10 and 20 s). */
const atOnceMs = 5_000;

let vm: SmallVm;
let hosts: TwoHosts;

eachTestHasHosts(
  "migrate-interrupt-",
  (made) => {
    ({ vm, hosts } = made);
  },
  { insecure: true },
);

/** Sends the signal and sees the program end at once, with 130 and "interrupted". */
async function expectStopped(send: MigrateProcess, signal: "SIGINT" | "SIGTERM" = "SIGINT"): Promise<void> {
  const end = await withDeadline(
    send.kill(signal),
    atOnceMs,
    () => `the end after ${signal}: ${send.stdout()}`,
  );
  expect(end).toEqual({ code: 130, signal: null });
  expect(send.events.at(-1)).toMatchObject({ event: "error", code: "interrupted", side: "source" });
}

/** The same command moves the VM. */
async function expectGoesOn(context: string): Promise<void> {
  expectOneOwner(vm, hosts, context);
  const again = hosts.send(vm.folder);
  expect(await again.exit).toEqual({ code: 0, signal: null });
  expectMoved(vm, hosts, context);
}

test("begin: a signal that comes before send has begun is not lost, and does not end it by itself", async () => {
  const secret = join(hosts.folder, "secret");
  writeFileSync(secret, "a passphrase\n", { mode: 0o600 });
  const home = join(hosts.folder, "sealed");
  expect(await runMigrate(["id", "--seal", "--passphrase-file", secret], { home }).exit).toMatchObject({
    code: 0,
  });
  // It waits there for whoever writes, long before it listens to anybody else.
  const pipe = join(hosts.folder, "pipe");
  await runChild(["mkfifo", "-m", "600", pipe]);
  const words = ["send", vm.folder, "127.0.0.1:1", "--passphrase-file", pipe, "--json"];
  const send = runMigrate(words, { home });
  let fd = -1;
  const isAwaited = () => {
    try {
      fd = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
      return true;
    } catch {
      return false;
    }
  };
  await until(isAwaited, "send to read the passphrase");
  const end = send.kill("SIGTERM");
  writeSync(fd, "a passphrase\n");
  closeSync(fd);
  expect(await end).toEqual({ code: 130, signal: null });
  expect(send.events.at(-1)).toMatchObject({ event: "error", code: "interrupted" });
});

test("begin: a destination that takes the connection and says nothing does not hold SIGINT up", async () => {
  const connected = Promise.withResolvers<void>();
  const silent = createServer(() => connected.resolve());
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as { port: number };
  const words = ["send", vm.folder, `127.0.0.1:${port}`, "--insecure", "--json"];
  const send = runMigrate(words, { home: hosts.sourceHome });
  await connected.promise;
  await expectStopped(send);
  expectOneOwner(vm, hosts, "begin");
  silent.close();
  // Another destination than the one that never spoke.
  await hosts.serve();
  await expectGoesOn("begin");
});

test("begin: between two tries to reach a destination that is gone, SIGINT ends it", async () => {
  const serve = await hosts.serve();
  const send = hosts.send(vm.folder, ["--bandwidth", "2M"]);
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  await serve.kill();
  await send.waitFor("link", { where: ({ state, retryInMs }) => state === "lost" && retryInMs >= 400 });
  await expectStopped(send);
  await hosts.serve();
  await expectGoesOn("between tries");
});

// The answer that each phase waits for never comes.
const waiting = [
  { phase: "prepare", frame: 2 },
  { phase: "seal", frame: 3 },
] as const;
for (const { phase, frame } of waiting) {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    test(`${phase}: ${signal} ends it with 130, the VM stays, and the same command goes on`, async () => {
      await hosts.serve();
      hosts.proxy.plan({
        direction: "to-source",
        frame: { link: "control", number: frame },
        bytes: 0,
        how: "silence",
        scope: "link",
      });
      const send = hosts.send(vm.folder);
      await send.waitFor("phase", { where: (event) => event.phase === phase });
      await until(() => hosts.proxy.cutMade, `the link falls silent in ${phase}`);
      await expectStopped(send, signal);
      await expectGoesOn(phase);
    });
  }
}

test("stop-and-copy: SIGINT ends it with 130, the VM stays, and the same command goes on where it was", async () => {
  await hosts.serve();
  const send = hosts.send(vm.folder, ["--bandwidth", "2M"]);
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 1024 ** 2 });
  await expectStopped(send);
  const before = hosts.proxy.passed("chunk");
  await expectGoesOn("stop-and-copy");
  expect(hosts.proxy.passed("chunk") - before).toBeLessThan(vm.dataChunks);
});

/** Starts a send whose link breaks in front of a frame from the destination, and stays broken. */
async function sendThatWaits(frame: "owned" | "closed", flags: string[] = []): Promise<MigrateProcess> {
  await hosts.serve();
  hosts.proxy.breakBefore = (_direction, name) => {
    if (name !== frame) return false;
    hosts.proxy.refusing = true;
    return true;
  };
  const send = hosts.send(vm.folder, flags);
  await send.waitFor("link", { where: ({ state }) => state === "lost" });
  hosts.proxy.breakBefore = undefined;
  return send;
}

test("handover: after the release SIGINT does not end it; it settles and the VM has moved", async () => {
  const send = await sendThatWaits("owned");
  send.signal("SIGINT");
  await send.waitFor("notice", { where: ({ message }) => message.includes("released") });
  expectOneOwner(vm, hosts, "released");
  hosts.proxy.refusing = false;
  expect(await send.exit).toEqual({ code: 0, signal: null });
  expect(send.events.at(-1)).toMatchObject({ event: "done", owner: "destination" });
  expectMoved(vm, hosts, "settled");
});

test("handover: a second SIGINT leaves it in doubt at once, and the same command settles it", async () => {
  const send = await sendThatWaits("owned");
  send.signal("SIGINT");
  await send.waitFor("notice");
  const end = await withDeadline(send.kill("SIGINT"), atOnceMs, "the end after the second SIGINT");
  expect(end).toEqual({ code: 130, signal: null });
  expect(sessionsIn(hosts.sourceHome, "source")).toMatchObject([{ state: "released" }]);
  hosts.proxy.refusing = false;
  await expectGoesOn("in doubt");
});

test("handover: a destination that stays away leaves it in doubt, with exit code 7", async () => {
  const send = await sendThatWaits("owned", ["--retry-for", "1s"]);
  expect(await send.waitFor("error")).toMatchObject({ code: "in-doubt", side: "source", phase: "handover" });
  expect(await send.exit).toEqual({ code: 7, signal: null });
  hosts.proxy.refusing = false;
  await expectGoesOn("in doubt");
});

test("confirm: SIGINT does not end it; it settles and the VM has moved", async () => {
  const send = await sendThatWaits("closed");
  send.signal("SIGINT");
  await send.waitFor("notice");
  hosts.proxy.refusing = false;
  expect(await send.exit).toEqual({ code: 0, signal: null });
  expectMoved(vm, hosts, "confirm");
});

test("a destination that never comes is network, exit code 4, after the tries that were asked for", async () => {
  hosts.proxy.refusing = true;
  const send = hosts.source(["send", vm.folder, hosts.proxy.addressText, "--insecure", "--retry-for", "1s"]);
  expect(await send.waitFor("error")).toMatchObject({ code: "network", side: "source", phase: "begin" });
  expect(await send.exit).toEqual({ code: 4, signal: null });
  expectOneOwner(vm, hosts, "never there");
});

test("serve: SIGINT ends it with 130 and leaves its session resumable", async () => {
  const serve = await hosts.serve();
  const send = hosts.send(vm.folder, ["--bandwidth", "2M"]);
  await send.waitFor("progress", { where: ({ doneBytes }) => doneBytes > 0 });
  expect(await serve.kill("SIGINT")).toEqual({ code: 130, signal: null });
  expectOneOwner(vm, hosts, "serve interrupted");
  await hosts.serve();
  expect(await send.exit).toEqual({ code: 0, signal: null });
  expectMoved(vm, hosts, "serve interrupted");
});

test("the event of a failure carries the session and the name of its VM, once there is a session", async () => {
  await hosts.serve();
  const send = hosts.send(vm.folder, ["--bandwidth", "2M"]);
  await send.waitFor("progress");
  const { session } = sessionsIn(hosts.sourceHome, "source")[0]!;
  // Another process that would send it is told which session is in its way.
  const rival = hosts.send(vm.folder);
  expect(await rival.waitFor("error")).toMatchObject({ code: "vm-busy", session, name: "web1" });
  expect(await rival.exit).toMatchObject({ code: 6 });
  await expectStopped(send);
  expect(send.events.at(-1)).toMatchObject({ session, name: "web1" });
  const asked = hosts.source(["resolve", session, "--owner", "destination", "--insecure", "--without-code"]);
  expect(await asked.waitFor("error")).toMatchObject({ code: "policy", session, name: "web1" });
});
