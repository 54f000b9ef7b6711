/** The two hosts of the network tests: that they are apart, joined by a slow link, and can be cut off. */
import { afterEach, expect, test } from "bun:test";
import { NetworkHosts } from "../../support/moves/links/network-hosts.ts";
import { type Child, killChildren, runChild } from "../../support/system/child.ts";
import { withDeadline } from "../../support/system/deadline.ts";

const networks: NetworkHosts[] = [];

afterEach(async () => {
  await killChildren();
  for (const network of networks.splice(0)) await network.close();
});

async function makeNetwork(megabitsPerSec?: number): Promise<NetworkHosts> {
  const network = await NetworkHosts.make(megabitsPerSec === undefined ? {} : { megabitsPerSec });
  networks.push(network);
  return network;
}

/** A program that reads from one caller and says, in milliseconds, how long N bytes took from the first one on. */
const receiver = (bytes: number): string => `
  let count = 0, begun = 0;
  const server = Bun.listen({ hostname: "0.0.0.0", port: 0, socket: {
    data(socket, piece) {
      if (count === 0) { begun = performance.now(); console.log("first"); }
      count += piece.length;
      if (count >= ${bytes}) { console.log("took " + (performance.now() - begun)); process.exit(0); }
    },
  } });
  console.log("port " + server.port);
`;

/** A program that sends zeros for ever. */
const sender = (address: string, port: number): string => `
  const piece = new Uint8Array(1 << 20);
  const more = (socket) => { while (socket.write(piece) === piece.length); };
  await Bun.connect({ hostname: "${address}", port: ${port}, socket: { open: more, drain: more, data() {} } });
`;

/** Starts a program on a host; what it gives waits for what a pattern finds in the program's output. */
function run(
  network: NetworkHosts,
  host: "source" | "destination",
  code: string,
): { child: Child; said: (pattern: RegExp) => Promise<string> } {
  const lookers = new Set<() => void>();
  const child = network.exec(host, [process.execPath, "-e", code], {
    onStdout: () => {
      for (const look of lookers) look();
    },
  });
  const said = async (pattern: RegExp): Promise<string> => {
    const found = Promise.withResolvers<string>();
    const look = (): void => {
      const match = pattern.exec(child.stdout());
      if (match !== null) found.resolve(match[1] ?? match[0]);
    };
    lookers.add(look);
    look();
    void child.exit.then(() => found.reject(new Error(`it ended: ${child.stderr()}`)));
    return await withDeadline(found.promise, 30_000, () => `${pattern}; it wrote: ${child.stderr()}`);
  };
  return { child, said };
}

test("bytes between two hosts take the time that the link needs, and the hosts are gone afterwards", async () => {
  const network = await makeNetwork(400);
  const megabytes = 40;
  const { said } = run(network, "destination", receiver(megabytes * 1e6));
  const port = Number(await said(/port (\d+)/));
  run(network, "source", sender(network.address("destination"), port));
  const tookMs = Number(await said(/took ([\d.]+)/));
  // 320 Mbit at 400 Mbit/s, less what the burst lets through at once.
  expect(tookMs).toBeGreaterThan(700);
  expect(tookMs).toBeLessThan(3000);

  await killChildren();
  await network.close();
  const left = await runChild(["ip", "netns", "list"]);
  expect(left).not.toContain(network.namespace("source"));
  expect(left).not.toContain(network.namespace("destination"));
}, 60_000);

test("nothing gets through while the link is cut, and the connection goes on when it is restored", async () => {
  const network = await makeNetwork();
  const { child, said } = run(network, "destination", receiver(250e6));
  const port = Number(await said(/port (\d+)/));
  run(network, "source", sender(network.address("destination"), port));
  await said(/first/);
  await network.cut();
  const received = async (): Promise<number> => {
    const words = ["ip", "-n", network.namespace("destination"), "-s", "-j", "link", "show", "link0"];
    const [link] = JSON.parse(await runChild(words)) as [{ stats64: { rx: { bytes: number } } }];
    return link.stats64.rx.bytes;
  };
  const atCut = await received();
  // A second of the link is 125 MB, so what it carries in 300 ms would be seen; TCP tries again in that time.
  await Bun.sleep(300);
  expect((await received()) - atCut).toBe(0);
  expect(child.stdout()).not.toContain("took");
  await network.restore();
  expect(Number(await said(/took ([\d.]+)/))).toBeGreaterThan(2000 * 0.9);
  expect(await received()).toBeGreaterThan(atCut);
}, 60_000);

test("the link carries what it is told to from then on, or as much as it can", async () => {
  const network = await makeNetwork(40);
  const took = async (): Promise<number> => {
    const { said } = run(network, "destination", receiver(10e6));
    const port = Number(await said(/port (\d+)/));
    run(network, "source", sender(network.address("destination"), port));
    return Number(await said(/took ([\d.]+)/));
  };
  await network.setRate("unlimited");
  // 80 Mbit would take 2 s at 40 Mbit/s, less what the burst lets through at once.
  expect(await took()).toBeLessThan(1000);
  await killChildren();
  await network.setRate(40);
  expect(await took()).toBeGreaterThan(1400);
}, 60_000);

test("two pairs of hosts are there at once, and neither reaches the other", async () => {
  const [one, two] = [await makeNetwork(), await makeNetwork()];
  const { said } = run(one, "destination", receiver(1));
  const port = Number(await said(/port (\d+)/));
  const stranger = run(two, "source", sender(two.address("destination"), port));
  expect((await stranger.child.exit).code).not.toBe(0);
  run(one, "source", sender(one.address("destination"), port));
  await said(/took/);
}, 60_000);
