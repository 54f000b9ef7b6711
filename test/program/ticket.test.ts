/** `migrate ticket` beside a `migrate serve`, both as they are installed. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { lastServe } from "../../src/home/last-serve.ts";
import { makeSmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";

let hosts: TwoHosts;
let root: string;
eachTestHasHosts("ticket", (made) => ({ hosts, root } = made));

test("the line and the ticket that it prints are such as serve's, and a source pairs with them", async () => {
  const serve = await hosts.serve();
  const { addresses, delivers } = await serve.waitFor("listening");
  expect(delivers).toEqual([{ what: "VMs, a folder each", path: hosts.store }]);
  const asked = hosts.destination(["ticket", "--ttl", "1h"]);
  expect((await asked.exit).code).toBe(0);
  const [issued] = asked.events as unknown as { ticket: string; command: string }[];
  expect(issued).toMatchObject({
    event: "ticket",
    command: `migrate send VM ${addresses[0]} --ticket -`,
    ttlMs: 3_600_000,
  });
  const vm = makeSmallVm(join(root, "web1"));
  const send = hosts.source(["send", vm.folder, addresses[0]!, "--ticket", issued!.ticket]);
  expect((await send.exit).code).toBe(0);
  expect(lastServe(hosts.destinationHome)).toMatchObject({ store: hosts.store, qemu: false, libvirt: false });
});
