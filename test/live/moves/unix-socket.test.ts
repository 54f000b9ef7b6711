/** A VM that runs is moved through a unix socket, as one that ssh forwards would be: control, disks and RAM alike. */
import { afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { guestImage } from "../../support/guests/guest-image.ts";
import { RunningHosts } from "../../support/moves/running-hosts.ts";
import { doneOf, expectMoved } from "../../support/moves/whole-move.ts";
import { runMigrate } from "../../support/system/process.ts";

let at: RunningHosts;

// The first run downloads and builds it, which is not what the test's time limit is for.
beforeAll(async () => {
  await guestImage();
}, 300_000);
afterEach(async () => {
  await at.close();
}, 60_000);

test("a VM that runs comes through a unix socket, while it runs, with several connections for its RAM", async () => {
  at = await RunningHosts.make();
  const { destinationHome, sourceHome, store } = at.hosts;
  const socket = join(at.folder, "door");
  const words = ["serve", "--listen", `unix:${socket}`, "--store", store, "--qemu", "--json"];
  const serve = runMigrate(words, { home: destinationHome });
  const { command, ticket } = await serve.waitFor("listening");
  expect(command).toBe(`migrate send VM unix:${socket} --ticket -`);
  const guest = await at.guest();
  await guest.waitForTick(3);
  const flags = ["--ticket", ticket!, "--multifd", "2", "--json"];
  const send = runMigrate(["send", `qmp:${guest.qmpPath}`, `unix:${socket}`, ...flags], { home: sourceHome });
  expect(await doneOf(send)).toMatchObject({ owner: "destination" });
  await expectMoved(at, guest);
}, 120_000);
