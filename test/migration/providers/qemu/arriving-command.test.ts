/**
 * The checks of an offered running VM, and the command line that is made from it: only this host's paths are
 * in it.
 */
import { describe, expect, test } from "bun:test";
import {
  checkMachine,
  commandLineOf,
  type QemuPolicy,
} from "../../../../src/migration/providers/qemu/arriving-command.ts";
import { which } from "../../../../src/platform/host.ts";
import type { Offer, OfferedFile, OfferedMachine } from "../../../../src/protocol/offer.ts";
import { serialNamesOf } from "../../../../src/vm/qemu/attendants/start-attendants.ts";
import { parseDefinition } from "../../../../src/vm/qemu/definition/definition.ts";
import { ramOf } from "../../../../src/vm/qemu/definition/machine.ts";
import { RunFolder } from "../../../../src/vm/qemu/run-folder.ts";
import { wireModelOf } from "../../../support/guests/qemu-place.ts";
import { refusalOf } from "../../../support/system/refusals.ts";

const program = "qemu-system-x86_64";
const policy: QemuPolicy = { allowTcg: true, net: { kind: "none" }, confinement: null };
const run = RunFolder.at("/home-of-ours", "web1");

const file = (kind: OfferedFile["kind"], name: string): OfferedFile => ({
  ...{ kind, name, bytes: 4096, allocatedBytes: 0 },
});
const mirrored = (name: string, format: "raw" | "qcow2" = "raw") => ({
  ...{ name, format, bytes: 4096, allocatedBytes: 0 },
});
const machineOf = (words: string[], change: Partial<OfferedMachine> = {}): OfferedMachine => ({
  ...{ live: false, definition: wireModelOf([program, ...words]), disks: [], channels: 0, patienceMs: 1000 },
  ...change,
});

function offer(words: string[], files: OfferedFile[], change: Partial<OfferedMachine> = {}): Offer {
  return {
    name: "web1",
    vm: "12345678-1234-1234-1234-123456789abc",
    mode: "move",
    chunkBytes: 1024 * 1024,
    tagKey: "0".repeat(32),
    files,
    machine: machineOf(words, change),
  };
}

const drive = (name: string, more = "") => ["-drive", `file=/vms/${name},format=raw,if=virtio${more}`];

describe("an offer of a running VM is taken", () => {
  test("stopped, with its disks and its images among the files, in the words' order", () => {
    const words = [...drive("a"), "-kernel", "/boot/k", ...drive("b", ",readonly=on")];
    const files = [file("disk", "a"), file("boot", "k"), file("boot", "b")];
    expect(ramOf(checkMachine(offer(words, files), policy))).toBe(128 * 2 ** 20);
  });

  test("live, with its disks mirrored and what is only read among the files", () => {
    const words = [...drive("a"), ...drive("b", ",readonly=on")];
    const change = { live: true, disks: [mirrored("a")] };
    checkMachine(offer(words, [file("boot", "b")], change), policy);
  });
});

test("the network of this host is QEMU's own business for its user network and its helper alone", () => {
  const networkOf = (words: string[], net: QemuPolicy["net"]) =>
    commandLineOf(parseDefinition([program, ...drive("a"), ...words]), { ...policy, net }, run).network;
  const user = { kind: "user" } as const;
  expect(networkOf(["-nic", "user"], user)).toBe("host");
  expect(networkOf([], user)).toBe("host");
  expect(networkOf(["-nic", "none"], user)).toBe("none");
  expect(networkOf(["-nic", "user"], { kind: "none" })).toBe("none");
  expect(networkOf(["-netdev", "tap,id=n"], { kind: "bridge", bridge: "br0" })).toBe("host");
});

describe("an offer of a running VM is refused", () => {
  const refusal = (offered: Offer, by: QemuPolicy | null = policy) =>
    refusalOf(() => checkMachine(offered, by));

  test("by a host that starts none", () => {
    expect(refusal(offer(drive("a"), [file("disk", "a")]), null).message).toContain("--qemu");
  });

  test("with more memory or processors than this host has", () => {
    const [memory, processors] = [
      ["-m", "1000T"],
      ["-smp", "100000"],
    ].map((words) => refusal(offer([...drive("a"), ...words], [file("disk", "a")])).message);
    expect(memory).toMatch(/the VM has 1048576000 MiB of memory, and the destination has \d+ MiB free/);
    expect(processors).toMatch(/the VM has 100000 processors, and the destination has \d+$/);
  });

  test("to be copied", () => {
    expect(refusal({ ...offer(drive("a"), [file("disk", "a")]), mode: "copy" }).message).toContain("copied");
  });

  test.each([
    ["none of its disks", [], {}],
    ["a disk more", [file("disk", "a"), file("disk", "b")], {}],
    ["its disk as another kind", [file("boot", "a")], {}],
    ["its disk as a file where it is live", [file("disk", "a")], { live: true }],
    ["its disk mirrored where it is not live", [], { disks: [mirrored("a")] }],
    ["its disk mirrored in another format", [], { live: true, disks: [mirrored("a", "qcow2")] }],
    ["the parts of a path for a name", [file("disk", "vms/a")], {}],
  ] as const)("with %s", (_what, files, change) => {
    const error = refusal(offer(drive("a"), [...files], change as Partial<OfferedMachine>));
    expect(error).toMatchObject({ code: "policy", message: expect.stringContaining("not those that") });
  });

  test("with an initrd under a name at whose comma QEMU would begin another file", () => {
    const words = ["-kernel", "/k", "-initrd", "/i"];
    const files = [file("boot", "k"), file("boot", "i")];
    expect(refusal({ ...offer(words, files), name: "web1,etc" }).message).toStartWith("-initrd is refused");
    checkMachine(offer(words, files), policy);
  });
});

describe("the command line", () => {
  const wordsFor = (...words: string[]) =>
    commandLineOf(parseDefinition([program, ...words]), policy, run).argv;
  /** Paths of sockets and logs that the command line makes QEMU open in the run folder. */
  const opened = (words: readonly string[]) =>
    words.flatMap((word) =>
      [...word.matchAll(/\/home-of-ours\/run\/web1\/([^,"]+)/g)].map(([, name]) => name!),
    );

  test("is confined, stands still and waits, and names the program of this host", () => {
    const words = wordsFor("-sandbox", "off", "-S", ...drive("a"));
    expect(words[0]).toBe(which(program) ?? `/usr/bin/${program}`);
    expect(words[words.indexOf("-sandbox") + 1]).toBe(
      "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );
    expect(words.filter((word) => word === "-sandbox")).toHaveLength(1);
    expect(words.join(" ")).toContain("-S -incoming defer");
  });

  test("leads every file to the VM's own folder, in the format that was said", () => {
    const words = wordsFor(
      ...["-drive", "file=/etc/shadow,format=raw,if=virtio", "-kernel", "../../../boot/k"],
      ...["-drive", "file=/run/web2/vm/disk.qcow2,format=qcow2,readonly=on"],
      ...["-blockdev", "driver=raw,node-name=n,file.driver=file,file.filename=/dev/sda"],
    );
    expect(opened(words)).toEqual(["qmp", "vm/shadow", "vm/k", "vm/disk.qcow2", "vm/sda", "migrate-qmp"]);
    expect(words.join(" ")).not.toMatch(/\/etc|\/dev|web2|boot/);
    const drives = words.filter((_, at) => words[at - 1] === "-drive");
    expect(drives.map((word) => /,format=(\w+)/.exec(word)?.[1])).toEqual(["raw", "qcow2"]);
  });

  test.each([
    ...["qmp", "vm", "swtpm", "tpm", "qemu", "processes", "migrate-incoming", "migrate-nbd", "migrate-qmp"],
    ...["keeper", "relay", "keeper.log", "relay.log", "vnc", "vnc.port", "vnc.sock", "migrate-serial-0"],
    ...["tpm-state", "swtpm.pid", "processes.json", "qemu.log", "swtpm.log", "migrate-anything", "vm.json"],
  ])("gives a character device called %s no name of ours", (id) => {
    const chardev = ["-chardev", `socket,id=${id},path=/x,server=on,logfile=/y`];
    const theirs = (...words: string[]) =>
      opened(words).filter((name) => !["qmp", "vm/a", "migrate-qmp"].includes(name));
    const port = ["-device", "virtio-serial-pci", "-device", `virtserialport,chardev=${id}`];
    expect(theirs(...wordsFor(...chardev, ...port, ...drive("a")))).toEqual([
      `chardev.${id}`,
      `chardev.${id}.log`,
    ]);
    // Of a serial line QEMU has a socket of ours, and its keeper the others: none of them is another's.
    const serial = [...chardev, "-serial", `chardev:${id}`];
    expect(theirs(...wordsFor(...serial, ...drive("a")))).toEqual(["migrate-serial-0"]);
    expect(serialNamesOf(parseDefinition([program, ...serial]))).toEqual([
      {
        qemu: "migrate-serial-0",
        program: `chardev.${id}`,
        console: "migrate-console-0",
        log: `chardev.${id}.log`,
      },
    ]);
  });

  test("names what is exported, in the order of the disks", () => {
    const words = [
      ...drive("a"),
      ...["-blockdev", "driver=qcow2,node-name=mine,file.driver=file,file.filename=/b"],
      ...drive("c", ",readonly=on"),
    ];
    expect(commandLineOf(parseDefinition([program, ...words]), policy, run)).toMatchObject({
      nodes: ["migrate-disk-0", "mine"],
      network: "none",
      bridges: [],
    });
  });
});
