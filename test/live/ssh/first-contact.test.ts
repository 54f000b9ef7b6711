/** The first move by ssh to a host that has nothing of this program, and what it leaves there and here. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import type { SshHosts } from "../../support/ssh/ssh-hosts.ts";
import {
  done,
  expectArrived,
  failure,
  said,
  sshHostsOfEachTest,
} from "../../support/ssh/ssh-hosts-of-tests.ts";
import { builtBinary } from "../../support/system/process.ts";

const makeHosts = sshHostsOfEachTest();
const limitMs = 120_000;

/** Files below a folder, by their path in it. */
function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

const hashOfBinary = () => createHash("sha256").update(readFileSync(builtBinary)).digest("hex");

/** Nothing that was started runs on either host, and nothing lies about where sockets lay. */
async function expectNothingLeft(hosts: SshHosts, known: string): Promise<void> {
  await hosts.waitUntilQuiet();
  expect(readdirSync(hosts.at("tmp"))).toEqual([]);
  expect(readFileSync(hosts.at("home-source/.ssh/known_hosts"), "utf8")).toBe(known);
}

test(
  "a suspended VM arrives at a host that has nothing but ssh, and nothing is left that was not said",
  async () => {
    const hosts = await makeHosts();
    const known = readFileSync(hosts.at("home-source/.ssh/known_hosts"), "utf8");
    const vm = makeSmallVm(hosts.at("web1"));
    const store = hosts.at("store");
    const send = hosts.migrate(["send", vm.folder, hosts.address("root", store), "--json"]);
    await done(send);
    expect((await send.exit).code).toBe(0);
    expectArrived(vm, store);

    const copy = join(hosts.cache("root"), hashOfBinary(), "migrate");
    expect(said(send)).toContain(`copying this migrate to root@`);
    expect(said(send)).toContain(copy);
    expect(said(send)).toContain(`receives in ${store}, as root, by a serve for this command alone`);
    expect(said(send)).toContain("is reached directly, at port 7600");
    expect(filesBelow(hosts.at("home-root"))).toEqual([copy.slice(hosts.at("home-root").length + 1)]);
    expect(readFileSync(copy).equals(readFileSync(builtBinary))).toBe(true);
    await expectNothingLeft(hosts, known);
    expect(readFileSync(join(hosts.sourceHome, "trust"), "utf8")).toContain(` destination ssh://root@`);

    // The second one copies nothing; the journal there knows the first.
    const other = makeSmallVm(hosts.at("web2"), { seed: 2 });
    const again = hosts.migrate(["send", other.folder, hosts.address("root", store), "--json"]);
    await done(again);
    expect(said(again)).not.toContain("copying");
    const history = hosts.migrate(["history", hosts.address("root", store), "--json"]);
    await history.exit;
    expect(history.stdout()).toContain('"name":"web1"');
    expect(history.stdout()).toContain('"name":"web2"');
    await expectNothingLeft(hosts, known);
  },
  limitMs,
);

test(
  "--leave-nothing takes the copy away again, after a move and after a refusal",
  async () => {
    const hosts = await makeHosts();
    const vm = makeSmallVm(hosts.at("web1"));
    const address = hosts.address("root", hosts.at("store"));
    const send = hosts.migrate(["send", vm.folder, address, "--leave-nothing", "--json"]);
    await done(send);
    await send.exit;
    expect(filesBelow(hosts.at("home-root"))).toEqual([]);
    expect(said(send)).toContain("removed from root@");
    expect(said(send)).toContain("What stays there: the VM, and migrate's own folder with its journal");
    await hosts.waitUntilQuiet();

    // The name is taken now.
    const twin = makeSmallVm(hosts.at("twin/web1"), { seed: 3 });
    const refused = hosts.migrate(["send", twin.folder, address, "--leave-nothing", "--json"]);
    expect((await failure(refused)).code).toBe("name-taken");
    expect(filesBelow(hosts.at("home-root"))).toEqual([]);
    await hosts.waitUntilQuiet();
  },
  limitMs,
);

test(
  "two that copy and begin at once do not hurt each other, and both VMs arrive",
  async () => {
    const hosts = await makeHosts();
    const store = hosts.at("store");
    const vms = [1, 2].map((seed) => makeSmallVm(hosts.at(`web${seed}`), { seed }));
    const sends = vms.map((vm) => hosts.migrate(["send", vm.folder, hosts.address("root", store), "--json"]));
    await Promise.all(sends.map((send) => done(send)));
    for (const vm of vms) expectArrived(vm, store);
    expect(filesBelow(hosts.cache("root"))).toEqual([`${hashOfBinary()}/migrate`]);
    await hosts.waitUntilQuiet();
  },
  limitMs,
);
