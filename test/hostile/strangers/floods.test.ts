/** Peers that send as fast as they can and read nothing: the other side's memory stays what it was [STAND-8]. */
import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import { encodeFrame, frameTypes } from "../../../src/protocol/frames.ts";
import { encodeMessage } from "../../../src/protocol/messages.ts";
import { HostileDestination, letIn } from "../../support/hostile/hostile-destination.ts";
import { makeIdentity, newSession } from "../../support/hostile/hostile-ground.ts";
import { type RawIdentity, RawPeer } from "../../support/hostile/raw/peer.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import { killChildren } from "../../support/system/child.ts";
import { runMigrate } from "../../support/system/process.ts";

const mebibyte = 1024 ** 2;
/** What the issue allows a process, in bytes. */
const mostMemoryBytes = 256 * mebibyte;

const folders: string[] = [];
afterEach(async () => {
  await killChildren();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** The largest resident size that a process has had, in bytes (proc(5), VmHWM); 0 when it is gone. */
function peakMemoryBytes(pid: number): number {
  const path = `/proc/${pid}/status`;
  const status = existsSync(path) ? readFileSync(path, "utf8") : "";
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}

/** The compiled destination, and a source that it trusts. */
async function serve() {
  const root = mkdtempSync(join(tmpdir(), "migrate-flood-"));
  folders.push(root);
  const home = join(root, "home");
  const identity = await makeIdentity();
  await TrustFile.load(openHome(home)).add(identity.fingerprint, "source", "a-source");
  const store = join(root, "store");
  const server = runMigrate(["serve", "--listen", "127.0.0.1:0", "--store", store, "--json"], { home });
  const { address } = await server.waitFor("listening");
  return { server, identity, port: Number(address.split(":")[1]) };
}

/** Sends `frame` over and over, reading nothing, until that many bytes have gone or the server takes no more. */
async function flood(peer: RawPeer, frame: Buffer, bytes: number): Promise<void> {
  const block = Buffer.concat(Array.from({ length: Math.ceil((256 * 1024) / frame.length) }, () => frame));
  peer.socket.pause();
  let wake = () => {};
  for (const event of ["drain", "close", "error"]) peer.socket.on(event, () => wake());
  let sent = 0;
  while (sent < bytes && !peer.socket.destroyed) {
    sent += block.length;
    if (peer.socket.write(block)) continue;
    // A server that takes no more for so long has had enough; what is left is the kernel's.
    const taken = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), 400);
      wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
    if (!taken) return;
  }
}

async function connect(port: number, identity: RawIdentity): Promise<RawPeer> {
  const peer = await RawPeer.connect({ port, identity });
  await peer.join({ session: newSession() });
  return peer;
}

const vm = new RawVm("flood");
const floods: Buffer[] = [
  encodeMessage("ping", {}),
  encodeMessage("list", {}),
  encodeMessage("query", { session: newSession() }),
  encodeMessage("cancel", {}),
  encodeFrame(frameTypes.offer, Buffer.from(JSON.stringify(vm.offer()))),
  encodeFrame(frameTypes.offer, Buffer.from(JSON.stringify({ name: "x".repeat(200_000) }))),
  encodeMessage("pong", {}),
];

/** Does `work` and closes whatever peers there are then. */
async function closingAll(peers: RawPeer[], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    for (const peer of peers) peer.close();
  }
}

test("a destination flooded by trusted sources that read nothing keeps its memory and serves on", async () => {
  const { server, identity, port } = await serve();
  const peers: RawPeer[] = [];
  await closingAll(peers, async () => {
    for (const frame of floods) {
      const four = await Promise.all([1, 2, 3, 4].map(() => connect(port, identity)));
      peers.push(...four);
      await Promise.all(four.map((peer) => flood(peer, frame, 12 * mebibyte)));
    }
    expect(peakMemoryBytes(server.pid)).toBeGreaterThan(0);
    expect(peakMemoryBytes(server.pid)).toBeLessThan(mostMemoryBytes);
    const after = await connect(port, identity);
    peers.push(after);
    await after.send("list", {}).expect("sessions");
  });
  expect((await server.kill("SIGTERM")).code).toBe(0);
}, 60_000);

test("a lane flooded with PING or with one chunk over and over keeps its memory, too", async () => {
  const { server, identity, port } = await serve();
  const control = await connect(port, identity);
  const session = newSession();
  const owner = await RawPeer.connect({ port, identity });
  await owner.join({ session });
  const { laneToken } = await owner.offer(vm.offer());
  const peers = [control, owner];
  await closingAll(peers, async () => {
    for (const frame of [encodeMessage("ping", {}), vm.chunks()[0]!]) {
      const lanes = await Promise.all(
        [1, 2, 3, 4].map(async () => {
          const lane = await RawPeer.connect({ port, identity });
          await lane.hello({ role: "lane", session, laneToken }).expect("welcome");
          return lane;
        }),
      );
      peers.push(...lanes);
      await Promise.all(lanes.map((lane) => flood(lane, frame, 32 * mebibyte)));
    }
    expect(peakMemoryBytes(server.pid)).toBeLessThan(mostMemoryBytes);
    await control.send("list", {}).expect("sessions");
  });
  expect((await server.kill("SIGTERM")).code).toBe(0);
}, 60_000);

test("a source flooded by a destination that reads nothing keeps its memory, and its VM", async () => {
  const root = mkdtempSync(join(tmpdir(), "migrate-flood-"));
  folders.push(root);
  const destination = await HostileDestination.open({
    identity: await makeIdentity(),
    control: async (visit) => {
      await letIn(visit);
      await flood(visit.peer, encodeMessage("ping", {}), 16 * mebibyte);
      // It heard nothing of our answers so far; now it may see that the source still listens.
      visit.peer.socket.resume();
      visit.peer.send("error", { code: "policy", message: "enough" });
      await visit.peer.closed;
    },
  });
  try {
    const ram = join(root, "web1.ram");
    writeFileSync(ram, "the VM's memory");
    const to = `127.0.0.1:${destination.address.port}`;
    const source = runMigrate(
      ["send", "--name", "web1", "--ram", ram, to, "--ticket", destination.ticket!, "--json"],
      {
        home: join(root, "home"),
      },
    );
    let peakBytes = 0;
    const watch = setInterval(() => {
      peakBytes = Math.max(peakBytes, peakMemoryBytes(source.pid));
    }, 50);
    const error = await source.waitFor("error").finally(() => clearInterval(watch));
    expect(error).toMatchObject({ code: "policy", message: "enough" });
    expect(peakBytes).toBeGreaterThan(0);
    expect(peakBytes).toBeLessThan(mostMemoryBytes);
    expect((await source.exit).code).toBe(6);
    expect(readFileSync(ram, "utf8")).toBe("the VM's memory");
  } finally {
    await destination.close();
  }
}, 60_000);
