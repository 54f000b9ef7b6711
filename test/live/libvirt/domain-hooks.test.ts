/** What an administrator has libvirt run as a domain comes and goes (libvirt hooks.rst) is run for a move of ours as well. */
import { expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { definedDomain } from "../../support/libvirt/defined-domain.ts";
import { asTheirUsers } from "../../support/libvirt/host-folders.ts";
import type { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { moveDomain } from "../../support/libvirt/moved-domain.ts";
import { movingHosts } from "../../support/libvirt/moving-hosts.ts";

const hosts = movingHosts({ qemuConf: asTheirUsers }, "hosta", "hostb");
const hookPath = "/etc/libvirt/hooks/qemu";
const logPath = "/run/libvirt/hooks.log";

/** The hook of QEMU's domains writes what it is called with, a line each. */
async function hook(host: LibvirtHost): Promise<() => string[]> {
  const [path, log] = [host.outside(hookPath), host.outside(logPath)];
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\necho "$1 $2 $3" >> ${logPath}\n`);
  chmodSync(path, 0o755);
  // libvirtd looks for hooks as it starts.
  await host.restart();
  return () => (existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : []);
}

test("each host's hook is told of what a live move and a stopped one do to it", async () => {
  const [a, b] = hosts.all();
  const [here, there] = [await hook(a.libvirt), await hook(b.libvirt)];
  const domain = await definedDomain(a.libvirt, { name: "web1" });
  await domain.start();
  await domain.waitForTick(2);
  await b.serve();
  const told = here().length;
  await moveDomain({ from: a, to: b, name: "web1" });
  expect(there()).toEqual([
    "web1 migrate begin",
    "web1 prepare begin",
    "web1 start begin",
    "web1 started begin",
  ]);
  expect(here().slice(told)).toEqual(["web1 stopped end", "web1 release end"]);

  const before = there().length;
  await a.serve();
  const came = here().length;
  await moveDomain({ from: b, to: a, name: "web1" }, "--mode", "stop");
  expect(there().slice(before)).toEqual(["web1 stopped end", "web1 release end"]);
  expect(here().slice(came)).toEqual([
    "web1 restore begin",
    "web1 prepare begin",
    "web1 start begin",
    "web1 started begin",
  ]);
}, 120_000);
