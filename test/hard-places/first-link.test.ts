/** A destination that has never answered yet: it may be about to start. */
import { expect, test } from "bun:test";
import type { SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { expectMoved } from "../support/moves/ownership.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";

let vm: SmallVm;
let hosts: TwoHosts;

eachTestHasHosts(
  "migrate-first-",
  (made) => {
    ({ vm, hosts } = made);
  },
  { insecure: true },
);

/** Connections that fail before `send` gives up by itself. */
const usualTries = 3;

test("is not waited for by itself", async () => {
  await hosts.serve();
  hosts.proxy.refusing = true;
  const send = hosts.send(vm.folder);
  expect(await send.exit).toMatchObject({ code: 4 });
  expect(send.events.filter(({ event }) => event === "link").length).toBe(usualTries - 1);
});

test("is waited for as long as --retry-for says", async () => {
  await hosts.serve();
  hosts.proxy.refusing = true;
  const send = hosts.send(vm.folder, ["--retry-for", "60s"]);
  await send.waitFor("link", { where: ({ retryInMs }) => retryInMs > 200 * 2 ** (usualTries - 1) });
  hosts.proxy.refusing = false;
  expect(await send.exit).toMatchObject({ code: 0 });
  expectMoved(vm, hosts, "once it answers");
});
