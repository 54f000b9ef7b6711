/** Running VMs that a trusted source makes up: what is not the VM alone is refused by name, and nothing is started. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { limits } from "../../../src/protocol/limits.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw-peer.ts";
import { processesNaming, RawRunningVm } from "../../support/hostile/raw-running-vm.ts";
import { RawVm } from "../../support/hostile/raw-vm.ts";

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
    expectRefused({ ...plain, provider: "libvirt" }, "policy", '"libvirt"'));

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

// [VM-1]
describe("a command line is refused that has", () => {
  test.each([
    ["-virtfs", ["-virtfs", "local,path=/,mount_tag=root,security_model=none"]],
    ["-chardev host", ["-chardev", "socket,id=c,host=192.0.2.9,port=1"]],
    ["-device loader", ["-device", "loader,file=/etc/shadow,addr=0x1000"]],
    ["-device vfio-pci", ["-device", "vfio-pci,sysfsdev=/sys/bus/pci/devices/0000:01:00.0"]],
    ["-monitor exec:", ["-monitor", "exec:sh -c id"]],
    ["-drive file", ["-drive", "file=/dev/fdset/1,format=raw"]],
    ["-incoming-not-known", ["-incoming-not-known", "exec:id"]],
  ])("%s", (named, words) => expectRefused(new RawRunningVm("web1", words).offer(), "policy", named));

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

  test("an argument of 1 MiB: it is not even read", async () =>
    expectRefused(
      new RawRunningVm("web1", ["-append", "x".repeat(2 ** 20)]).offer(),
      "protocol",
      "exceeds the limit",
    ));

  test.each([
    [
      "a word beyond its limit",
      ["-append", "x".repeat(limits.wordBytes + 1)],
      "protocol",
      "offer.machine.words",
    ],
    [
      "more words than there may be",
      Array<string>(limits.words).fill("-S"),
      "protocol",
      "offer.machine.words",
    ],
    ["words of 128 KiB in all", Array<string>(9).fill("x".repeat(15_000)), "limit", "131072 bytes"],
    ["half a character in an argument", ["-append", "\ud800"], "policy", "An argument"],
  ] as const)("%s", (_what, words, code, named) =>
    expectRefused(new RawRunningVm("web1", words).offer(), code, named),
  );
});

// [VM-2] [VM-3]
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
    ["no words", { words: [] }, "protocol", "offer.machine.words"],
    ["an odd machine type", { machineType: "pc,accel=x" }, "protocol", "offer.machine.machineType"],
    [
      "a machine type in another script",
      { machineType: "\u0440\u0441" },
      "protocol",
      "offer.machine.machineType",
    ],
    ["live that is a word", { live: "yes" }, "protocol", "offer.machine.live"],
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

  const notThose = "not those that the VM's command line names";
  test.each([
    ["more files", [disk, other], {}],
    ["fewer files", [], {}],
    ["another file", [other], {}],
    ["a file of another kind", [{ ...disk, kind: "boot" as const }], {}],
    ["the RAM as a file", [{ ...disk, kind: "ram" as const }], {}],
    ["a file and the same disk mirrored", [disk], { live: true }],
    ["a disk mirrored though it is not live", [], { disks: [mirrored("a.raw")] }],
    ["a mirrored disk that no word names", [], { live: true, disks: [mirrored("b.raw")] }],
    [
      "a mirrored disk in another format",
      [],
      { live: true, disks: [{ ...mirrored("a.raw"), format: "qcow2" }] },
    ],
  ])("with %s than the words name", async (_what, files, change) =>
    expectRefused(
      new RawRunningVm("web1", drive("a.raw"), { files: [...files], machine: change }).offer(),
      "policy",
      notThose,
    ),
  );

  test("with the words' files in another order", () =>
    expectRefused(
      new RawRunningVm("web1", [...drive("a.raw"), ...drive("b.raw")], { files: [other, disk] }).offer(),
      "policy",
      notThose,
    ));

  test("under the name of a VM in the store, whatever its words name", async () => {
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
