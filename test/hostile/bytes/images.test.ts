/** Disk images that a trusted source brings: their format is declared, and no head names a file of this host. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity, RawPeer } from "../../support/hostile/raw/peer.ts";
import { type RawFile, RawVm } from "../../support/hostile/raw/vm.ts";

let ground: HostileGround;
let source: RawIdentity;
let count = 0;

testsAttackDestination({ maxSessions: 64 }, async (made) => {
  ground = made;
  source = await ground.trustedSource();
});

const secret = "/etc/shadow";
const text = (latin1: string) => Buffer.from(latin1.padEnd(8192, "\0"), "latin1");

/** A qcow2 head of version 3 (docs/interop/qcow2.rst) in a file of 8 KiB. */
function qcow2({ backingAt = 0, incompatible = 0n } = {}): Buffer {
  const image = text("QFI\xfb\0\0\0\x03");
  image.writeBigUInt64BE(BigInt(backingAt), 8);
  image.writeUInt32BE(backingAt === 0 ? 0 : secret.length, 16);
  image.writeUInt32BE(16, 20);
  image.writeBigUInt64BE(2n ** 20n, 24);
  image.writeBigUInt64BE(incompatible, 72);
  image.writeUInt32BE(4, 96);
  image.writeUInt32BE(104, 100);
  if (backingAt !== 0) image.write(secret, backingAt);
  return image;
}

const naming: [string, Buffer][] = [
  ["qcow2 with a backing file", qcow2({ backingAt: 512 })],
  ["qcow2 with a data file", qcow2({ incompatible: 4n })],
  ["qcow2 with a feature that nobody knows", qcow2({ incompatible: 1n << 40n })],
];
const foreign: [string, Buffer][] = [
  ["VMDK", text(`# Disk DescriptorFile\nversion=1\nRW 16 FLAT "${secret}" 0\n`)],
  ["VMDK behind comments", text(`#\n\n#\nversion=1\nRW 16 FLAT "${secret}" 0\n`)],
  ["QED", text("QED\0")],
  ["VHDX", text("vhdxfile")],
];

interface Arriving {
  vm: RawVm;
  peer: Awaited<ReturnType<HostileGround["joined"]>>;
  laneToken: string;
}

async function offered(image: Omit<RawFile, "name">): Promise<Arriving> {
  const vm = new RawVm(`vm${++count}`, [{ ...image, name: "disk.img" }]);
  const peer = await ground.joined(source);
  const { laneToken } = await peer.offer(vm.offer());
  return { vm, peer, laneToken };
}

async function laneOf({ peer, laneToken }: Arriving): Promise<RawPeer> {
  const lane = await ground.connect({ identity: source });
  await lane.hello({ role: "lane", session: peer.session, laneToken }).expect("welcome");
  return lane;
}

/** Brings the whole VM; resolves to what vm.json says of its disk. */
async function brought(image: Omit<RawFile, "name">): Promise<{ format?: string }> {
  const arriving = await offered(image);
  const { vm, peer } = arriving;
  await (await laneOf(arriving)).sendChunks(vm.chunks());
  peer.send("seal", vm.seal());
  await peer.expect("ready");
  await peer.send("release", {}).expect("owned");
  await peer.send("confirm", {}).expect("closed");
  const folder = join(ground.store, vm.name);
  expect(readFileSync(join(folder, "disk.img")).equals(image.content)).toBe(true);
  return JSON.parse(readFileSync(join(folder, "vm.json"), "utf8")).files[0];
}

/** The chunk is turned away before a byte of it is on the disk, and the VM cannot become whole. */
async function expectTurnedAway(image: Omit<RawFile, "name">, says: string): Promise<void> {
  await ground.withstands(async () => {
    const arriving = await offered(image);
    const { vm, peer } = arriving;
    const lane = await laneOf(arriving);
    lane.sendBytes(vm.chunk(image.content));
    const error = await lane.error();
    expect(error).toEqual({ code: "vm-invalid", message: expect.stringContaining(says) });
    expect(readFileSync(ground.staged(peer.session, "disk.img")).every((byte) => byte === 0)).toBe(true);
    peer.send("seal", vm.seal());
    expect((await peer.error()).code).toMatch(/^(integrity|vm-invalid)$/);
    const again = await ground.joined(source, peer.session, 2);
    await again.send("cancel", {}).expect("cancelled");
  });
}

// [IMG-3]
describe("an image whose head names what it may not is turned away as it comes", () => {
  test.each([...naming, ...foreign])("of which nothing is declared: %s", (_how, content) =>
    expectTurnedAway({ kind: "disk", content }, "an image "),
  );

  test.each(naming)("declared qcow2: %s", (_how, content) =>
    expectTurnedAway({ kind: "disk", content, format: "qcow2" }, "an image "),
  );

  test.each([...foreign, ["zeros and something behind them", Buffer.alloc(8192).fill(1, 4096)] as const])(
    "declared qcow2, which it is not: %s",
    (_how, content) =>
      expectTurnedAway({ kind: "disk", content, format: "qcow2" }, "has no head of a qcow2 image"),
  );

  test.each(naming)("what a VM is started from: %s", (_how, content) =>
    expectTurnedAway({ kind: "boot", content }, "an image "),
  );

  test("which its last bytes tell, at the seal", async () => {
    const content = Buffer.concat([Buffer.alloc(8192, 1), text("conectix").subarray(0, 512)]);
    const arriving = await offered({ kind: "disk", content });
    await (await laneOf(arriving)).sendChunks(arriving.vm.chunks());
    arriving.peer.send("seal", arriving.vm.seal());
    expect(await arriving.peer.error()).toEqual({
      code: "vm-invalid",
      message: "disk.img looks like a disk image of the format VHD",
    });
  });

  test("also where a whole one is there already", async () => {
    const arriving = await offered({ kind: "disk", content: qcow2(), format: "qcow2" });
    const { vm, peer } = arriving;
    await (await laneOf(arriving)).sendChunks(vm.chunks());
    for (const [, content] of naming) {
      const lane = await laneOf(arriving);
      lane.sendBytes(vm.chunk(content));
      expect((await lane.error()).code).toBe("vm-invalid");
      expect(readFileSync(ground.staged(peer.session, "disk.img")).equals(qcow2())).toBe(true);
    }
  });
});

// [IMG-1] [IMG-2]
describe("a disk that is declared raw arrives as it is, and its vm.json says so", () => {
  test.each([...naming, ...foreign, ["nothing but zeros", Buffer.alloc(8192)] as const])(
    "with a head that a guest wrote: %s",
    async (_how, content) => {
      expect(await brought({ kind: "disk", content, format: "raw" })).toMatchObject({ format: "raw" });
    },
  );
});

// [IMG-1]
describe("what was declared is kept", () => {
  test("with a whole qcow2 image", async () => {
    expect(await brought({ kind: "disk", content: qcow2(), format: "qcow2" })).toMatchObject({
      format: "qcow2",
    });
  });

  test("and nothing that was not", async () => {
    expect("format" in (await brought({ kind: "disk", content: qcow2() }))).toBe(false);
  });

  test("by the session: it goes on with the same alone", async () => {
    const { vm, peer } = await offered({ kind: "disk", content: qcow2(), format: "qcow2" });
    const again = await ground.joined(source, peer.session, 2);
    const error = await again.sendJson("offer", vm.offer({}, { format: "raw" })).error();
    expect(error).toEqual({ code: "policy", message: expect.stringContaining("other files") });
  });

  test("of images alone", async () => {
    const vm = new RawVm(`vm${++count}`, [{ kind: "ram", name: "ram", content: Buffer.alloc(10) }]);
    const peer = await ground.joined(source);
    const error = await peer.sendJson("offer", vm.offer({}, { format: "raw" })).error();
    expect(error).toEqual({ code: "protocol", message: expect.stringContaining("have a format") });
  });
});
