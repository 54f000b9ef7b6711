/**
 * The link is broken before, inside and after every frame of a small VM's migration, in both
 * directions, on the control connection and on the lanes; the source connects again by itself, and
 * the VM must arrive, once, whole.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HeartbeatTiming } from "../../src/channel/control-link.ts";
import { makeSmallVm, type SmallVmOptions } from "../support/files/small-vm.ts";
import { type Cut, CuttingProxy, type Direction, type LinkKind } from "../support/moves/cutting-proxy.ts";
import { expectMoved } from "../support/moves/ownership.ts";
import { type SendingOptions, type Sent, sendOnce } from "../support/moves/sending.ts";
import { type Serving, startServing, stopServing } from "../support/moves/serving.ts";

/** Chunks that may be on their way on one lane (transfer/lanes/lane-sender.ts). */
const windowChunks = 16;
const lanes = 2;
/** Cases at once: a part of each is waiting for the next try. */
const casesAtOnce = 3;

/** What is sent, and how. */
interface Traffic extends Pick<SmallVmOptions, "content">, Pick<SendingOptions, "compression"> {}

const raw: Traffic = {};
const compressed: Traffic = { content: "compressible", compression: 3 };

interface Destination {
  serving: Serving;
  home: string;
  store: string;
  secure: boolean;
  timing?: HeartbeatTiming;
}

let root: string;
let plain: Destination;
let cases = 0;

async function startDestination(
  name: string,
  options: { secure?: boolean; timing?: HeartbeatTiming; workers?: number } = {},
): Promise<Destination> {
  const [home, store] = [join(root, `${name}-home`), join(root, `${name}-store`)];
  const serving = await startServing({ home, store, ...options });
  return { serving, home, store, secure: false, ...options };
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "migrate-cut-"));
  plain = await startDestination("plain");
});
afterAll(async () => {
  await stopServing();
  rmSync(root, { recursive: true, force: true });
});

interface Case {
  proxy: CuttingProxy;
  sent: Sent;
}

/** Sends a VM of its own through a link that is cut as planned, and checks all that must hold after it. */
async function runCase(
  cut: Cut | undefined,
  destination = plain,
  {
    prepare = () => {},
    traffic: { compression, ...content } = raw,
  }: { prepare?: (proxy: CuttingProxy) => void; traffic?: Traffic } = {},
): Promise<Case> {
  const { serving, secure, timing } = destination;
  const number = ++cases;
  const folder = join(root, `case-${number}`);
  const vm = makeSmallVm(join(folder, `vm${number}`), { seed: number, ...content });
  const hosts = {
    sourceHome: join(folder, "home"),
    destinationHome: destination.home,
    store: destination.store,
  };
  const proxy = await CuttingProxy.open({
    target: () => serving.address,
    parseFrames: !secure,
    ...(cut === undefined ? {} : { cut }),
  });
  prepare(proxy);
  try {
    const context = `case ${number}, ${JSON.stringify(cut)}`;
    const sent = await sendOnce({
      home: hosts.sourceHome,
      vm: vm.spec,
      address: proxy.address,
      ticket: serving.ticket,
      lanes: lanes,
      ...(timing === undefined ? {} : { timing }),
      ...(compression === undefined ? {} : { compression }),
    });
    expect(sent.error, context).toBeUndefined();
    expectMoved(vm, hosts, context);
    const losses = sent.events.filter((event) => event.event === "link" && event.state === "lost").length;
    const most = vm.dataChunks + windowChunks * lanes * losses;
    expect(proxy.passed("chunk"), `${context}: chunks sent`).toBeLessThanOrEqual(most);
    expect(sent.done!.chunksSent, context).toBeLessThanOrEqual(most);
    if (!proxy.cutMade && losses === 0) expect(sent.done!.chunksSent, context).toBe(vm.dataChunks);
    // Even where all that was on its way is sent twice, it is less than the data is.
    if (compression !== undefined) expect(proxy.bytes["to-destination"], context).toBeLessThan(500_000);
    rmSync(join(hosts.store, vm.name), { recursive: true });
    rmSync(folder, { recursive: true });
    return { proxy, sent };
  } finally {
    await proxy.close();
  }
}

/** Cuts at frame 1, 2, 3, … until there is no such frame any more; gives how many there were. */
async function cutEveryFrame(plan: (number: number) => Cut, traffic: Traffic): Promise<number> {
  let next = 1;
  let last = Number.POSITIVE_INFINITY;
  const work = async () => {
    while (next < last) {
      const number = next++;
      const { proxy } = await runCase(plan(number), plain, { traffic });
      if (!proxy.cutMade) last = Math.min(last, number);
      expect(number, "the frames do not end").toBeLessThan(100);
    }
  };
  await Promise.all(Array.from({ length: casesAtOnce }, work));
  return last - 1;
}

const links: [LinkKind, Direction, number][] = [
  // HELLO, OFFER, SEAL, RELEASE, CONFIRM
  ["control", "to-destination", 5],
  // WELCOME, ACCEPT, READY, OWNED, CLOSED
  ["control", "to-source", 5],
  // HELLO and every chunk once; all may be over before the second lane is up.
  ["lane", "to-destination", 1 + 8],
  // WELCOME and at least one ACK.
  ["lane", "to-source", 1 + 1],
];
const places: [string, Cut["bytes"], Cut["how"], Cut["scope"]][] = [
  ["before it, all connections reset", 0, "reset", "link"],
  ["inside its header, this connection closed", 3, "end", "connection"],
  ["inside its payload, all connections closed", "half", "end", "link"],
  ["after it, this connection reset", "all", "reset", "connection"],
];

describe.each([
  ["raw", raw, links],
  // The control connection says the same of them: only what a lane carries is another thing.
  ["compressed", compressed, links.filter(([link]) => link === "lane")],
] as const)("with chunks that are %s", (_how, traffic, cutLinks) => {
  for (const [link, direction, atLeast] of cutLinks) {
    for (const [where, bytes, how, scope] of places) {
      test(`a link cut at any ${link} frame ${direction}, ${where}, is taken up again and nothing is lost`, async () => {
        const plan = (number: number): Cut => ({ direction, frame: { link, number }, bytes, how, scope });
        expect(await cutEveryFrame(plan, traffic)).toBeGreaterThanOrEqual(atLeast);
      });
    }
  }
});

test("a link that falls silent at any control frame is given up and taken up again", async () => {
  const silent = await startDestination("silent", { timing: { pingMs: 250, silenceMs: 1000 } });
  for (const direction of ["to-destination", "to-source"] as const) {
    // The first frames, HELLO and WELCOME, have a deadline of their own, which is no heartbeat.
    const cuts = [2, 3, 4, 5].map(
      (number): Cut => ({
        direction,
        frame: { link: "control", number },
        bytes: 0,
        how: "silence",
        scope: "link",
      }),
    );
    const ran = await Promise.all(cuts.map((cut) => runCase(cut, silent)));
    expect(ran.map(({ proxy }) => proxy.cutMade)).toEqual([true, true, true, true]);
  }
});

test("a lane that is turned away because its control connection is over, unnoticed by the source, is tried again", async () => {
  const { sent, proxy } = await runCase(undefined, plain, {
    prepare: (through) => {
      // The first lane comes with a token that the destination does not know any more.
      through.rewrite = (_direction, name, frame) => {
        if (name !== "hello" || !frame.includes('"role":"lane"') || through.passed("error") > 0) return;
        const token = frame.indexOf('"laneToken":"') + '"laneToken":"'.length;
        frame.write(frame.readUInt8(token) === 0x30 ? "1" : "0", token);
      };
    },
  });
  expect(proxy.errors[0]?.text).toContain("policy");
  const links = sent.events.filter(({ event }) => event === "link");
  expect(links).toMatchObject([{ state: "lost" }, { state: "restored" }]);
});

test("a secure link cut after any number of bytes, the pairing included, is taken up again and nothing is lost", async () => {
  // From within the TLS handshake to the last bytes.
  const offsets: Record<Direction, number[]> = {
    "to-destination": [0, 1, 100, 600, 1200, 1500, 1800, 2500, 10_000, 1_000_000, 2_400_000],
    "to-source": [0, 1, 100, 600, 1000, 1300, 1600, 1900, 2300, 2700],
  };
  for (const direction of ["to-destination", "to-source"] as const) {
    for (const [i, bytes] of offsets[direction].entries()) {
      const destination = await startDestination(`tls-${direction}-${i}`, { secure: true, workers: 1 });
      const cut: Cut = { direction, bytes, how: i % 2 === 0 ? "reset" : "end", scope: "link" };
      const { proxy } = await runCase(cut, destination);
      await destination.serving.stop();
      expect([direction, bytes, proxy.cutMade]).toEqual([direction, bytes, true]);
    }
  }
});
