/**
 * A path that loses large packets and tells nobody: every connection stands, answers, and carries no data. In two
 * network namespaces.
 */
import { afterEach, beforeAll, expect, test } from "bun:test";
import { join, resolve } from "node:path";
import type { VmSpec } from "../../../src/migration/providers/candidates.ts";
import { makeSmallVm } from "../../support/files/small-vm.ts";
import { guestImage } from "../../support/guests/guest-image.ts";
import { NetworkHosts } from "../../support/moves/links/network-hosts.ts";
import { RunningHosts } from "../../support/moves/running-hosts.ts";
import { killChildren } from "../../support/system/child.ts";
import { builtBinary, runMigrate } from "../../support/system/process.ts";

const program = resolve(import.meta.dir, "../../support/moves/links/send-program.ts");
/** In place of 5 and 20 s; the destination says PING after 5 s. */
const timing = { pingMs: 1_000, silenceMs: 8_000 };
const opened: { at: RunningHosts; network: NetworkHosts }[] = [];

beforeAll(async () => {
  await guestImage();
}, 300_000);

afterEach(async () => {
  await killChildren();
  for (const { at, network } of opened.splice(0)) {
    await at.close();
    await network.close();
  }
}, 60_000);

interface Over {
  error: { code: string; message: string; hint?: string } | null;
  /** Messages of connections that were lost. */
  lost: string[];
}

interface Pair {
  at: RunningHosts;
  send: (vm: VmSpec) => Promise<Over>;
}

/** Two hosts, of which the destination serves, and a source there that gives up after a few seconds. */
async function makePair({ insecure }: { insecure: boolean }): Promise<Pair> {
  const at = await RunningHosts.make();
  const network = await NetworkHosts.make();
  opened.push({ at, network });
  const { destinationHome, sourceHome, store } = at.hosts;
  const host = network.address("destination");
  const flags = ["--store", store, "--qemu", "--json", ...(insecure ? ["--insecure"] : [])];
  const serve = runMigrate(["serve", "--listen", `${host}:0`, ...flags], {
    home: destinationHome,
    binary: [...network.enter("destination"), builtBinary],
  });
  const { address, ticket } = await serve.waitFor("listening");
  await network.loseLargePackets();
  const send = async (vm: VmSpec): Promise<Over> => {
    const options = {
      ...{ home: sourceHome, vm, ticket, timing, compression: "off", retryForMs: 4_000 },
      address: { host, port: Number(address.slice(address.lastIndexOf(":") + 1)) },
    };
    const child = network.exec("source", [process.execPath, program, JSON.stringify(options)]);
    await child.exit;
    const events = child
      .stdout()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { event: string; state?: string; message?: string });
    const over = events.at(-1) as unknown as { error: Over["error"] };
    return {
      error: over.error,
      lost: events.flatMap(({ event, state, message }) =>
        event === "link" && state === "lost" ? [message!] : [],
      ),
    };
  };
  return { at, send };
}

const said = /^the link to 10\.77\.0\.2 takes small messages but no data: .* \(the MTU\?\)$/;

test("a suspended VM's move ends once --retry-for is over, and names the MTU", async () => {
  const { at, send } = await makePair({ insecure: true });
  const bytes = 3 * 1024 ** 2;
  const vm = makeSmallVm(join(at.folder, "web2"), { ram: { bytes, extents: [{ at: 0, bytes }] }, disks: [] });
  const { error } = await send(vm.spec);
  expect(error).toMatchObject({ code: "network", message: expect.stringMatching(said) });
  expect(error?.hint).toContain("tcp_mtu_probing");
}, 120_000);

test("so does that of a VM that runs, which goes on at the source", async () => {
  const { at, send } = await makePair({ insecure: true });
  const guest = await at.guest({ append: "random_mib=8" });
  await guest.log.waitForTick(2);
  const { error } = await send({
    qmp: guest.qmpPath,
    live: true,
    downtimeLimitMs: 300,
    autoConverge: true,
    channels: 0,
    workers: 2,
  });
  expect(error).toMatchObject({ code: "network", message: expect.stringMatching(said) });
  await guest.log.waitForTick((guest.log.ticks().at(-1) ?? 0) + 3);
}, 180_000);

test("a secure link does not even come to stand, and the same is said of it", async () => {
  const { at, send } = await makePair({ insecure: false });
  const { error } = await send(makeSmallVm(join(at.folder, "web2")).spec);
  expect(error).toMatchObject({ code: "network", message: expect.stringMatching(said) });
}, 120_000);
