/** Two hosts as the network has them: a serve that nobody told where to listen is reached by IPv4 and by IPv6. */
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TrustFile } from "../../../src/channel/trust.ts";
import { hashOf, makeSmallVm } from "../../support/files/small-vm.ts";
import { NetworkHosts } from "../../support/moves/links/network-hosts.ts";
import { killChildren } from "../../support/system/child.ts";
import { builtBinary, type MigrateProcess, runMigrate } from "../../support/system/process.ts";
import { until } from "../../support/system/until.ts";

let root: string;
const networks: NetworkHosts[] = [];
afterEach(async () => {
  await killChildren();
  for (const network of networks.splice(0)) await network.close();
  rmSync(root, { recursive: true, force: true });
});

async function hosts() {
  root = mkdtempSync(join(tmpdir(), "migrate-families-"));
  const network = await NetworkHosts.make({ megabitsPerSec: "unlimited" });
  networks.push(network);
  await until(async () => await network.isUp(), "the link to carry something");
  const run = (host: "source" | "destination", words: string[]): MigrateProcess =>
    runMigrate([...words, "--json"], {
      home: join(root, host),
      binary: [...network.enter(host), builtBinary],
    });
  return { network, run, serve: () => run("destination", ["serve", "--store", join(root, "store")]) };
}

/** Sends a small suspended VM, with the ticket if there is one. */
async function moved(
  run: (host: "source", words: string[]) => MigrateProcess,
  name: string,
  address: string,
  pairing: string[],
) {
  const vm = makeSmallVm(join(root, name), { name });
  const send = run("source", ["send", vm.folder, address, ...pairing]);
  const { code } = await send.exit;
  expect({ code, stderr: send.stderr() }).toMatchObject({ code: 0 });
  for (const { base, hash } of vm.files) expect(hashOf(join(root, "store", name, base))).toBe(hash);
  return send;
}

test("a VM comes by each of them, the line has the first address, and a second way needs no second ticket", async () => {
  const { network, run, serve } = await hosts();
  const v6 = await network.addV6();
  const v4 = network.address("destination");
  const { address, addresses, command, ticket } = await serve().waitFor("listening");
  expect(address).toBe("[::]:7600");
  expect(addresses.slice(0, 2)).toEqual([`${v4}:7600`, `[${v6}]:7600`]);
  expect(command).toBe(`migrate send VM ${v4}:7600 --ticket -`);
  expect(addresses.join(" ")).not.toMatch(/127\.|::1\]|fe80/);

  await moved(run, "web1", addresses[0]!, ["--ticket", ticket!]);
  await moved(run, "web2", addresses[1]!, []);
  // A source that came by IPv4 is written down as one.
  const [source] = TrustFile.load(join(root, "destination")).peers();
  expect(source?.name).toBe(network.address("source"));
});

test("a host that has no IPv6 is reached by what it has, and says nothing else", async () => {
  const { network, run, serve } = await hosts();
  await network.withoutV6("destination");
  const { addresses, ticket } = await serve().waitFor("listening");
  expect(addresses[0]).toBe(`${network.address("destination")}:7600`);
  expect(addresses.filter((address) => address.startsWith("["))).toEqual([]);
  await moved(run, "web1", addresses[0]!, ["--ticket", ticket!]);
});
