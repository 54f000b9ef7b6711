/**
 * A source that is trusted, and sends the image of a domain's memory as it should not: what libvirt would read of it is
 * made by the destination alone. Nothing of the image's own reaches libvirtd, nothing that it cannot start is left.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { RawFile } from "../../support/hostile/raw/vm.ts";
import { offeredFile } from "../../support/libvirt/hostile/hostile-files.ts";
import {
  answerOn,
  cardOf,
  errorOn,
  HostileSource,
  type LetIn,
  liveOffer,
  offeredDomain,
} from "../../support/libvirt/hostile/hostile-source.ts";

const uuid = "5a6b7c8d-1111-4222-8333-9a0b1c2d3e4f";
const mac = "52:54:00:12:34:56";
const slowMs = 120_000;
const disk: RawFile = { kind: "disk", name: "a", format: "raw", content: Buffer.alloc(2 ** 20, 7) };
/** Of the image's header: src/qemu/qemu_saveimage.h. */
const header = { version: 16, dataBytes: 20, wasRunning: 24, format: 28, cookie: 32, bytes: 92 } as const;
let at: HostileSource;
/** As libvirt has saved it. */
let saved: Buffer;

beforeAll(async () => {
  const libvirtdConf = [
    'log_filters = "1:qemu.qemu_monitor"',
    'log_outputs = "1:file:/var/log/libvirt/libvirtd.log"',
  ];
  at = await HostileSource.make({ libvirtdConf });
  const { host, folder } = at;
  writeFileSync(join(folder, "a"), disk.content);
  const xml = offeredDomain({ uuid, devices: cardOf(mac) }).replace("file='a'", `file='${folder}/a'`);
  writeFileSync(join(folder, "vm1.xml"), xml);
  await host.virsh("create", join(folder, "vm1.xml"));
  await host.virsh("save", "vm1", join(folder, "vm1.save"));
  saved = readFileSync(join(folder, "vm1.save"));
}, 300_000);
beforeEach(() => at.note());
/** What has arrived is ended and forgotten, as its owner would do it. */
afterEach(async () => {
  await at.host.tryVirsh("destroy", "vm1");
  await at.host.tryVirsh("undefine", "vm1", "--managed-save");
  rmSync(join(at.store, "vm1"), { recursive: true, force: true });
});
afterEach(() => at.expectNothingLeft(), slowMs);
afterAll(() => at?.close(), 60_000);

/** The image with these numbers in its header, and another text where its XML is. */
function image(numbers: Partial<Record<keyof typeof header, number>>, xml?: string): Buffer {
  const bytes = Buffer.from(saved);
  for (const [name, value] of Object.entries(numbers)) bytes.writeUInt32LE(value, header[name as "version"]);
  if (xml !== undefined) bytes.write(`${xml}\0`, header.bytes);
  return bytes;
}

async function sent(memory: Buffer): Promise<LetIn> {
  const all: RawFile[] = [disk, { kind: "ram", name: "memory.save", content: memory }];
  const offer = liveOffer({ uuid, devices: cardOf(mac) }, (made) => {
    delete made.domain.live;
    made.files = all.map(offeredFile);
  });
  const begun = await at.letIn(offer);
  await at.seal(begun, all);
  return begun;
}

describe("refused before READY", () => {
  const bytes = header.bytes;
  test.each([
    ["is none of libvirt's", () => Buffer.alloc(4096, "LibvirtQemudSav"), /none of libvirt's/],
    ["ends within its header", () => saved.subarray(0, bytes - 1), /none of libvirt's/],
    [
      "ends where its memory begins",
      () => saved.subarray(0, bytes + saved.readUInt32LE(header.dataBytes)),
      /none of libvirt's/,
    ],
    ["is of another version", () => image({ version: 3 }), /none of libvirt's/],
    ["is of a host of the other byte order", () => image({ version: 2 << 24 }), /none of libvirt's/],
    ["has no XML", () => image({ dataBytes: 0 }), /none of libvirt's/],
    ["has 4 GiB of XML", () => image({ dataBytes: 0xffff_ffff }), /none of libvirt's/],
    ["has more XML than bytes", () => image({ dataBytes: 15 * 2 ** 20 }), /none of libvirt's/],
    ["has no room for XML", () => image({ dataBytes: 64 }), /no room/],
    ["is for a program to read", () => image({ format: 1 }), /compressed/],
    ["is for a program that there is not", () => image({ format: 0xffff_ffff }), /compressed/],
  ] as [string, () => Buffer, RegExp][])(
    "memory that %s",
    async (_what, memory, says) => {
      const begun = await sent(memory());
      const error = await errorOn(begun.peer);
      expect(error.message).toMatch(says);
      expect(error.code).toBe("vm-invalid");
      await at.cancel(begun);
    },
    slowMs,
  );
});

const hostile = `<domain type='qemu'><name>vm1</name><uuid>${uuid}</uuid><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices><emulator>/bin/sh</emulator><disk type='file' device='disk'><source file='/etc/shadow'/><target dev='vda'/></disk></devices></domain>`;

describe("what the image says of the domain reaches nobody", () => {
  test.each([
    ["its XML", () => image({}, hostile)],
    ["its cookie", () => image({ cookie: 64 }, hostile)],
    ["a cookie beyond its end", () => image({ cookie: 0xffff_fff0 })],
  ])(
    "%s",
    async (_what, memory) => {
      const before = at.host.libvirtdLog().length;
      const { peer } = await sent(memory());
      await answerOn(peer, "ready");
      await answerOn(peer.send("release", {}), "owned");
      const xml = await at.host.virsh("dumpxml", "vm1");
      expect(xml).not.toMatch(/shadow|\/bin\/sh/);
      expect(xml).toContain(`<source file='${at.store}/vm1/a'`);
      // Its card was connected as it was saved.
      expect(xml).toContain("<link state='down'/>");
      expect((await at.host.virsh("domif-getlink", "vm1", mac)).trim()).toEndWith("down");
      // It is cut after the memory came, which has another word on it, and before it goes on.
      const log = at.host.libvirtdLog().slice(before);
      const words =
        /QEMU_MONITOR_IO_WRITE[^\n]*"execute":"(set_link|cont)"|"event": "(MIGRATION)"[^\n]*"completed"/g;
      const asked = [...log.matchAll(words)].map(([, asks, hears]) => asks ?? hears);
      expect(asked.slice(asked.lastIndexOf("MIGRATION"))).toContain("set_link");
      expect(asked.at(-1)).toBe("cont");
      expect(log.slice(log.lastIndexOf('"execute":"set_link"'))).toMatch(/^[^\n]*"up":false/);
      expect((await at.host.virsh("domstate", "vm1")).trim()).toBe("running");
      await answerOn(peer.send("confirm", {}), "closed");
    },
    slowMs,
  );

  test(
    "memory that QEMU does not take: it never ran here, and is the source's again",
    async () => {
      const memory = image({});
      memory.fill("migrate", header.bytes + memory.readUInt32LE(header.dataBytes));
      const { peer } = await sent(memory);
      await answerOn(peer, "ready");
      await answerOn(peer.send("release", {}), "cancelled");
    },
    slowMs,
  );
});

describe("the state of a TPM", () => {
  const folder = () => at.host.outside(`/var/lib/libvirt/swtpm/${uuid}`);
  const state: RawFile = { kind: "tpm", name: "tpm2-00.permall", content: Buffer.alloc(4096, "state") };
  const devices = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>";
  afterEach(() => rmSync(folder(), { recursive: true, force: true }));

  async function arrived(): Promise<LetIn> {
    const offer = liveOffer({ uuid, devices }, (made) => {
      delete made.domain.live;
      delete made.domain.active;
      made.domain.state = "off";
      made.files = [disk, state].map(offeredFile);
    });
    const begun = await at.letIn(offer);
    await at.seal(begun, [disk, state]);
    await answerOn(begun.peer, "ready");
    return begun;
  }

  test(
    "is put into a folder of root's own, whatever its last user has left there",
    async () => {
      const place = join(folder(), "tpm2");
      mkdirSync(place, { recursive: true });
      symlinkSync(join(at.folder, "planted"), join(place, ".lock"));
      for (const path of [join(place, ".lock"), place]) lchownSync(path, 65_534, 65_534);
      const { peer } = await arrived();
      await answerOn(peer.send("release", {}), "owned");
      expect(readFileSync(join(place, state.name)).equals(state.content)).toBe(true);
      expect(readdirSync(place)).toEqual([state.name]);
      expect(lstatSync(place)).toMatchObject({ uid: 0, mode: 0o40_700 });
      expect(existsSync(join(at.folder, "planted"))).toBe(false);
      await answerOn(peer.send("confirm", {}), "closed");
    },
    slowMs,
  );

  test(
    "is not put where other state has come meanwhile, or a link to where it should not be",
    async () => {
      const { peer } = await arrived();
      mkdirSync(folder(), { recursive: true });
      mkdirSync(join(at.folder, "elsewhere"));
      symlinkSync(join(at.folder, "elsewhere"), join(folder(), "tpm2"));
      await answerOn(peer.send("release", {}), "cancelled");
      expect(readdirSync(join(at.folder, "elsewhere"))).toEqual([]);
      expect(lstatSync(join(folder(), "tpm2")).isSymbolicLink()).toBe(true);
    },
    slowMs,
  );

  test(
    "and a domain that came meanwhile are left as they are",
    async () => {
      const { peer } = await arrived();
      const path = join(at.folder, "local.xml");
      const theirs = offeredDomain({ uuid, name: "local" }).replace("file='a'", `file='${at.folder}/a'`);
      writeFileSync(path, theirs);
      await at.host.virsh("define", path);
      await answerOn(peer.send("release", {}), "cancelled");
      expect(await at.host.virsh("dumpxml", "local")).toContain(`${at.folder}/a`);
      await at.host.virsh("undefine", "local");
    },
    slowMs,
  );
});
