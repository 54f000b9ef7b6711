/** The first move by ssh, to a host on which there is nothing of this program. */
import { afterEach, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { SshHosts } from "../../support/ssh/ssh-hosts.ts";

let hosts: SshHosts | undefined;
afterEach(async () => {
  await hosts?.close();
  hosts = undefined;
}, 60_000);

test("a suspended VM arrives at a host that has nothing but ssh", async () => {
  hosts = await SshHosts.make();
  const vm = makeSmallVm(hosts.at("web1"));
  const store = hosts.at("store");
  const send = hosts.migrate(["send", vm.folder, hosts.address("root", store), "--json"]);
  const { code } = await send.exit;
  console.log(send.stdout(), send.stderr());
  expect(code).toBe(0);
  expect(existsSync(join(store, "web1", "vm.json"))).toBe(true);
  console.log(hosts.processes("source"), hosts.processes("destination"), readdirSync(hosts.at("tmp")));
}, 120_000);
