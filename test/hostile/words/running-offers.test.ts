/** Running VMs that a trusted source makes up: what is not the VM alone is refused by name, and nothing is started. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import { wireModelOf } from "../../support/guests/qemu-place.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { processesNaming, RawRunningVm, smallMachine } from "../../support/hostile/raw/running-vm.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";

let ground: HostileGround;
let source: RawIdentity;

testsAttackDestination(
  { qemu: { allowTcg: true, net: { kind: "none" }, confinement: null } },
  async (made) => {
    ground = made;
    source = await ground.trustedSource();
  },
);

/** Makes the offer, sees it refused with this code and this in the sentence, and that it left nothing behind. */
async function expectRefused(offer: Record<string, unknown>, code: string, named: string): Promise<void> {
  await ground.withstands(async () => {
    const peer = await ground.joined(source);
    const error = await peer.sendJson("offer", offer).error();
    expect(error).toEqual({ code, message: expect.stringContaining(named) });
    expect(error.message.length).toBeLessThan(300);
    await peer.ended();
    expect(ground.sessions().find(({ session }) => session === peer.session)).toBeUndefined();
    expect(processesNaming(ground.root)).toEqual([]);
  });
}

const disk = { kind: "disk", name: "a.raw", content: Buffer.alloc(512, 7) } as const;
const other = { kind: "disk", name: "b.raw", content: Buffer.alloc(512, 8) } as const;
const drive = (name: string) => ["-drive", `file=/vms/${name},format=raw,if=virtio`];

// [PROV-1] [PROV-2]
describe("a provider", () => {
  const plain = new RawVm("web1").offer();

  test("that this host does not have is refused by name, and nothing is made for it", () =>
    expectRefused({ ...plain, provider: "cloudlike" }, "policy", '"cloudlike"'));

  test("whose fields are another's is refused", () =>
    expectRefused({ ...plain, provider: "qemu" }, "protocol", "offer.provider"));

  test("that is not named is told from the other fields, and one that is named is the same", async () => {
    await ground.withstands(async () => {
      const first = await ground.joined(source);
      expect(await first.sendJson("offer", plain).expect("accept")).toMatchObject({ state: "receiving" });
      const again = await ground.joined(source, first.session, 2);
      await again.sendJson("offer", { ...plain, provider: "files" }).expect("accept");
      await again.expect("inventoryEnd");
      await again.send("cancel", {}).expect("cancelled");
    });
  });
});

// [VM-1] [MODEL-1] [MODEL-2]
describe("a definition is refused that has", () => {
  const whole = wireModelOf(smallMachine) as { parts: object[] } & Record<string, unknown>;
  const withPart = (...parts: object[]) => ({ ...whole, parts: [...whole.parts, ...parts] });
  const plain = (option: string, key: string, value: string) => ({
    ...{ kind: "plain", option, pairs: [{ key, value }] },
  });
  const device = (driver: string, key: string, value: unknown) => ({
    ...{ kind: "device", driver, json: false, pairs: [{ key, value }] },
  });
  const expectDefinitionRefused = (definition: unknown, named: string, code = "policy") =>
    expectRefused(new RawRunningVm("web1", [], { machine: { definition } }).offer(), code, named);

  test.each([
    ["an option that is on no list", withPart(plain("-virtfs", "path", "/")), "parts[1].option"],
    ["a device that is on no list", withPart(device("vfio-pci", "host", "1")), "parts[1].driver"],
    [
      "a property that is on no list",
      withPart(device("e1000", "romfile", "/etc/x")),
      "parts[1] e1000 romfile",
    ],
    [
      "a path where a word is",
      withPart(device("virtio-blk-pci", "serial", "/etc/x")),
      "virtio-blk-pci serial",
    ],
    ["a device on a drive that is not", withPart(device("virtio-blk-pci", "drive", "x")), "drive"],
    ["a value that goes on as another key", withPart(plain("-m", "size", "1,slots=2")), "-m size"],
    ["a machine type that is on no list", { ...whole, machine: "isapc" }, "machine type"],
    ["a machine type with an option", { ...whole, machine: "pc,accel=x" }, "machine type"],
    ["a machine type in another script", { ...whole, machine: "\u0440\u0441" }, "machine type"],
    ["a processor with another argument", { ...whole, cpu: { model: "host,x", features: [] } }, "cpu.model"],
    ["a field that nobody knows", { ...whole, incoming: "exec:id" }, "incoming"],
    ["a part that nobody knows", withPart({ kind: "virtfs" }), "parts[1].kind"],
    ["a memory that is given twice", withPart(plain("-m", "size", "1")), "-m"],
    ["half a character in a text", withPart(plain("-append", "value", "\ud800")), "-append"],
    ["the program of another system", { ...whole, system: "mips" }, "system"],
    ["no parts", { ...whole, parts: undefined }, "parts"],
  ])("%s", (_what, definition, named) => expectDefinitionRefused(definition, named));

  test("more parts than there may be", () =>
    expectDefinitionRefused(withPart(...Array(limits.modelParts).fill(plain("-usb", "x", "y"))), "parts"));

  test("an argument of 1 MiB: it is not even read", () =>
    expectDefinitionRefused(
      withPart(plain("-append", "value", "x".repeat(2 ** 20))),
      "exceeds the limit",
      "protocol",
    ));

  test.each([
    ["more text than it may have", withPart(plain("-append", "value", "x".repeat(limits.modelBytes)))],
    ["the words of a command line", [...smallMachine]],
    ["nothing", undefined],
  ])("%s", (_what, definition) => {
    const offer = new RawRunningVm("web1").offer();
    const machine = { ...(offer.machine as object), definition };
    return expectRefused({ ...offer, machine }, "protocol", "offer.machine.definition");
  });

  test("more memory or processors than this host has, both numbers in the sentence", async () => {
    const files = [{ kind: "boot", name: "k", content: Buffer.alloc(512, 1) } as const];
    const refused = (words: string[], sentence: string) =>
      expectRefused(
        new RawRunningVm("web1", ["-kernel", "/k", ...words], { files }).offer(),
        "policy",
        sentence,
      );
    await refused(
      ["-object", "memory-backend-ram,id=a,size=900T"],
      "the VM has 943718400 MiB of memory, and the destination has ",
    );
    const cores = availableParallelism();
    await refused(
      ["-smp", String(cores + 1)],
      `the VM has ${cores + 1} processors, and the destination has ${cores}`,
    );
  });

  test("-initrd under a name with a comma, behind which QEMU would read another file", () =>
    expectRefused(
      new RawRunningVm("web1,swapfile y", ["-kernel", "/k", "-initrd", "/i"], {
        files: [
          { kind: "boot", name: "k", content: Buffer.alloc(512, 1) },
          { kind: "boot", name: "i", content: Buffer.alloc(512, 2) },
        ],
      }).offer(),
      "policy",
      "-initrd",
    ));
});

// [MODEL-4]
test("ACCEPT has what is behind each of the VM's cards", () =>
  ground.withstands(async () => {
    const cards = ["-nic", "user", "-nic", "bridge,br=br7,model=e1000", "-netdev", "user,id=n,restrict=on"];
    for (const [words, expected] of [
      [["-nic", "none"], []],
      [cards, ["none", "none", "none"]],
    ] as const) {
      const vm = new RawRunningVm("web1", [...words, ...drive("a.raw")], { files: [disk] });
      const peer = await ground.joined(source);
      expect(await peer.sendJson("offer", vm.offer()).expect("accept")).toMatchObject({ cards: expected });
      await peer.send("cancel", {}).expect("cancelled");
    }
  }));

const processorOf = (features: string[]) => ({ features, identity: {} });

// [VM-2] [VM-3] [CPU-1]
describe("an offer is refused", () => {
  const vm = new RawRunningVm("web1", drive("a.raw"), { files: [disk] });
  const machine = (change: Record<string, unknown>) => ({
    machine: { ...(vm.offer().machine as object), ...change },
  });

  test("of a copy of a VM that runs", () =>
    expectRefused(vm.offer({ mode: "copy" }), "policy", "not copied"));

  test.each([
    ["16 channels beside the first", { channels: limits.ramStreams }, "protocol", "offer.machine.channels"],
    ["half a channel", { channels: 0.5 }, "protocol", "offer.machine.channels"],
    ["live that is a word", { live: "yes" }, "protocol", "offer.machine.live"],
    ["a feature that is an option", { processor: processorOf(["a=b"]) }, "protocol", ".processor.features.0"],
    ["a feature in capitals", { processor: processorOf(["AVX2"]) }, "protocol", ".processor.features.0"],
    ["a feature without a name", { processor: processorOf([""]) }, "protocol", ".processor.features.0"],
    [
      "more features than there may be",
      { processor: processorOf(Array.from({ length: limits.processorFeatures + 1 }, (_, n) => `f${n}`)) },
      "protocol",
      "offer.machine.processor.features",
    ],
    [
      "a vendor that is none",
      { processor: { features: [], identity: { vendor: "a,b" } } },
      "protocol",
      ".processor.identity.vendor",
    ],
    [
      "a version of QEMU before the first",
      { qemu: { major: -1, minor: 0 } },
      "protocol",
      "offer.machine.qemu",
    ],
    ["a patience before now", { patienceMs: -1 }, "protocol", "offer.machine.patienceMs"],
    ["a patience without end", { patienceMs: 2 ** 32 }, "protocol", "offer.machine.patienceMs"],
    [
      "a mirrored disk of a format that is none",
      { live: true, disks: [{ ...mirrored("a.raw"), format: "vvfat" }] },
      "protocol",
      "offer.machine.disks.0.format",
    ],
    [
      "a mirrored disk with a path for a name",
      { live: true, disks: [mirrored("../a.raw")] },
      "name-invalid",
      "offer.machine.disks.0.name",
    ],
    [
      "a mirrored disk of 9 TiB",
      { live: true, disks: [{ ...mirrored("a.raw"), bytes: 9 * 2 ** 40 }] },
      "limit",
      "bytes",
    ],
    [
      "65 mirrored disks",
      { live: true, disks: Array.from({ length: 65 }, (_, n) => mirrored(`d${n}`)) },
      "protocol",
      "offer.machine.disks",
    ],
    [
      "64 mirrored disks and a file",
      { live: true, disks: Array.from({ length: 64 }, (_, n) => mirrored(`d${n}`)) },
      "limit",
      "64 files",
    ],
    [
      "two disks with one name",
      { live: true, disks: [mirrored("b"), mirrored("b")] },
      "name-invalid",
      "same name",
    ],
    [
      "a disk where the TPM has its folder",
      { live: true, disks: [mirrored("tpm")] },
      "name-invalid",
      "same name",
    ],
  ])("with %s", (_what, change, code, named) => expectRefused(vm.offer(machine(change)), code, named));

  const notThose = "not those that the VM's definition names";
  test.each([
    ["more files", [disk, other], {}],
    ["fewer files", [], {}],
    ["another file", [other], {}],
    ["a file of another kind", [{ ...disk, kind: "boot" as const }], {}],
    ["the RAM as a file", [{ ...disk, kind: "ram" as const }], {}],
    ["a file and the same disk mirrored", [disk], { live: true }],
    ["a disk mirrored though it is not live", [], { disks: [mirrored("a.raw")] }],
    ["a mirrored disk that no part names", [], { live: true, disks: [mirrored("b.raw")] }],
    [
      "a mirrored disk in another format",
      [],
      { live: true, disks: [{ ...mirrored("a.raw"), format: "qcow2" }] },
    ],
  ])("with %s than the definition names", async (_what, files, change) =>
    expectRefused(
      new RawRunningVm("web1", drive("a.raw"), { files: [...files], machine: change }).offer(),
      "policy",
      notThose,
    ),
  );

  test("with the definition's files in another order", () =>
    expectRefused(
      new RawRunningVm("web1", [...drive("a.raw"), ...drive("b.raw")], { files: [other, disk] }).offer(),
      "policy",
      notThose,
    ));

  test("under the name of a VM in the store, whatever its definition names", async () => {
    const folder = join(ground.store, "web2");
    mkdirSync(folder);
    await expectRefused(new RawRunningVm("web2").offer(), "name-taken", "web2");
    rmSync(folder, { recursive: true });
  });

  test("under a name with which its sockets' paths would be too long, and no path is said", () =>
    expectRefused(
      new RawRunningVm("x".repeat(128), drive("a.raw"), { files: [disk] }).offer(),
      "name-invalid",
      "too long for the sockets",
    ));

  test("by a destination that starts no VMs", async () => {
    const plain = await ground.another();
    try {
      const peer = await ground.connect({ identity: source, port: plain.address.port });
      await peer.join({ session: "5".repeat(32) });
      const error = await peer.sendJson("offer", new RawRunningVm("web1").offer()).error();
      expect(error).toEqual({ code: "policy", message: expect.stringContaining("--qemu") });
    } finally {
      await plain.stop();
    }
  });
});

// [CPU-2] [CPU-3] [CPU-4]
describe("a processor", () => {
  const vm = new RawRunningVm("web1", drive("a.raw"), { files: [disk] });
  const machine = (change: Record<string, unknown>) => ({
    machine: { ...(vm.offer().machine as object), ...change },
  });

  test("that this host cannot give is refused before anything is made, its features named and no other word", () =>
    expectRefused(
      vm.offer(machine({ processor: processorOf(["sse2", "no-such-feature"]) })),
      "processor",
      "lacks no-such-feature, which the VM's has",
    ));

  test("of more unknown features than a sentence has room for is refused with some of them", () =>
    ground.withstands(async () => {
      const features = Array.from({ length: limits.processorFeatures }, (_, n) => `f${n}${"x".repeat(40)}`);
      const peer = await ground.joined(source);
      const offer = vm.offer(machine({ processor: processorOf(features) }));
      const error = await peer.sendJson("offer", offer).error();
      expect(error.code).toBe("processor");
      expect(error.message).toMatch(/ and \d+ more, which the VM's has$/);
      expect(Buffer.byteLength(error.message)).toBeLessThan(limits.errorTextBytes);
      await peer.ended();
    }));

  test("under a later QEMU than this host has is refused", () =>
    expectRefused(vm.offer(machine({ qemu: { major: 999, minor: 0 } })), "processor", "runs under 999.0"));

  test("of a model, or on a machine, that this host's QEMU does not know is refused by its name", async () => {
    for (const words of [
      ["-cpu", "Nosuch-v1"],
      ["-machine", "pc-i440fx-99.9"],
    ]) {
      const strange = new RawRunningVm("web1", [...words, ...drive("a.raw")], { files: [disk] });
      await expectRefused(strange.offer(), "policy", words[1]!);
    }
  });

  test("that was compared is said so in ACCEPT", () =>
    ground.withstands(async () => {
      const peer = await ground.joined(source);
      const offer = vm.offer(machine({ processor: processorOf(["sse2"]) }));
      expect(await peer.sendJson("offer", offer).expect("accept")).toMatchObject({ processor: true });
      await peer.send("cancel", {}).expect("cancelled");
    }));
});

describe("START is refused", () => {
  test("before an offer", () =>
    ground.withstands(async () => {
      const peer = await ground.joined(source);
      expect((await peer.send("start", {}).error()).code).toBe("protocol");
    }));

  test("for the session of another source, which it does not learn of", () =>
    ground.withstands(async () => {
      const vm = new RawVm("vm-of-another");
      const owner = await ground.joined(source);
      await owner.offer(vm.offer());
      const thief = await ground.joined(await ground.trustedSource(), owner.session, 9);
      const error = await thief.send("start", {}).error();
      const stranger = await ground.joined(source);
      expect(await stranger.send("start", {}).error()).toEqual(error);
      owner.send("cancel", {});
      await owner.expect("cancelled");
    }));

  test("for a VM that is files alone, before and after it is whole", () =>
    ground.withstands(async () => {
      const vm = new RawVm("files-alone", [{ kind: "ram", name: "r", content: Buffer.alloc(0) }]);
      const peer = await ground.joined(source);
      await peer.offer(vm.offer());
      expect((await peer.send("start", {}).error()).code).toBe("in-doubt");
      const again = await ground.joined(source, peer.session, 2);
      await again.offer(vm.offer());
      again.send("seal", vm.seal());
      await again.expect("ready");
      expect((await again.send("start", {}).error()).code).toBe("in-doubt");
      const last = await ground.joined(source, peer.session, 3);
      last.send("cancel", {});
      await last.expect("cancelled");
    }));
});

/** A mirrored disk as an offer has it. */
function mirrored(name: string) {
  return { name, format: "raw", bytes: 2 ** 20, allocatedBytes: 0 };
}
