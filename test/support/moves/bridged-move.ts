/** A running VM on a tap device that moves to a host where its card is to be a port of a bridge; in two network namespaces. */
import { expect } from "bun:test";
import { argumentsOf } from "../../../src/platform/process-id.ts";
import type { ArrivedGuest } from "../guests/arrived-guest.ts";
import { runChild } from "../system/child.ts";
import { builtBinary, runMigrate } from "../system/process.ts";
import { until } from "../system/until.ts";
import { NetworkHosts } from "./links/network-hosts.ts";
import type { RunningHosts } from "./running-hosts.ts";
import { doneOf, expectMoved } from "./whole-move.ts";

export const bridgeName = "br7";

interface Port {
  flags: string[];
  stats64: { rx: { packets: number } };
}

/**
 * Moves a VM so, and has `look` look at it; `serveAs` are the words that come before the program that serves. Throws
 * (by `expect`) if its card is no port of the bridge, or what it sends does not get there.
 */
export async function moveOntoBridge(
  at: RunningHosts,
  serveAs: readonly string[],
  look: (there: ArrivedGuest) => void,
): Promise<void> {
  const network = await NetworkHosts.make();
  try {
    const [source, destination] = [network.namespace("source"), network.namespace("destination")];
    await runChild(["ip", "-n", source, "tuntap", "add", "dev", "tap0", "mode", "tap"]);
    await runChild(["ip", "-n", destination, "link", "add", bridgeName, "type", "bridge"]);
    await runChild(["ip", "-n", destination, "link", "set", bridgeName, "up"]);
    const guest = await at.guest({
      enter: network.enter("source"),
      disks: [{ name: "data.raw", format: "raw" }],
      extraArgs: [
        ...["-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no"],
        ...["-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:99"],
      ],
    });
    await guest.waitForTick(2);
    const listen = ["--listen", `${network.address("destination")}:0`, "--net", `bridge:${bridgeName}`];
    const { destinationHome, sourceHome, store } = at.hosts;
    const serve = runMigrate(["serve", ...listen, "--store", store, "--qemu", "--json"], {
      home: destinationHome,
      binary: [...network.enter("destination"), ...serveAs, builtBinary],
    });
    const { address, ticket } = await serve.waitFor("listening");
    const send = runMigrate(["send", `qmp:${guest.qmpPath}`, address, "--ticket", ticket!, "--json"], {
      home: sourceHome,
      binary: [...network.enter("source"), builtBinary],
    });
    await doneOf(send);
    const there = await expectMoved(at, guest);
    look(there);
    const sandbox = argumentsOf(there.pid!)!.find((word) => word.startsWith("on,obsolete=deny"));
    expect(sandbox).toContain("elevateprivileges=deny,spawn=deny");

    const ports = async () =>
      JSON.parse(
        await runChild(["ip", "-n", destination, "-s", "-j", "link", "show", "master", bridgeName]),
      ) as Port[];
    const [port] = await ports();
    expect(port?.flags).toEqual(expect.arrayContaining(["UP", "LOWER_UP"]));
    // QEMU tells the switches where the card is now: what it sends reaches the bridge.
    await (await there.watch()).execute("announce-self", { initial: 10, max: 100, rounds: 3, step: 10 });
    await until(async () => (await ports())[0]!.stats64.rx.packets > 0, "a packet of the card's");
    await there.kill();
    await until(async () => (await ports()).length === 0, "the end of the tap device");
    // Started again, it has its port again.
    const start = runMigrate(["start", "web1", "--store", store, "--net", `bridge:${bridgeName}`, "--json"], {
      home: destinationHome,
      binary: [...network.enter("destination"), ...serveAs, builtBinary],
    });
    await start.waitFor("started");
    expect((await start.exit).code).toBe(0);
    look(there);
    expect((await ports()).length).toBe(1);
    await there.kill();
    await until(async () => (await ports()).length === 0, "the end of the second tap device");
    await serve.kill();
  } finally {
    await network.close();
  }
}
