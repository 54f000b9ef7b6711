/** A VM that arrived under QEMU is taken over by libvirt with what `migrate export` prints: the same machine boots there. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exportDomain } from "../../../src/migration/providers/libvirt/export/export-domain.ts";
import { isRunning } from "../../../src/platform/process-id.ts";
import { readCpuMap } from "../../../src/vm/libvirt/cpu-map.ts";
import { modelOf, parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";
import { callMonitor } from "../../support/guests/seen/monitor.ts";
import { ticksOnDisk } from "../../support/guests/tick-disk.ts";
import { tpmSealedLine } from "../../support/guests/tpm-guest.ts";
import { barePc, nographicPc, q35InJson, virtioPc } from "../../support/guests/typical-vms.ts";
import { wordsOf } from "../../support/libvirt/frozen-domain.ts";
import { libvirtHostsOfTests } from "../../support/libvirt/libvirt-hosts-of-tests.ts";
import { hostsOfEachTest } from "../../support/moves/running-hosts-of-tests.ts";
import { doneOf, expectMoved } from "../../support/moves/whole-move.ts";
import { runChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";

const newHosts = hostsOfEachTest();
const libvirts = libvirtHostsOfTests();
const limitMs = 240_000;

const devices = {
  pc: [
    ...["-netdev", "user,id=n0,restrict=on", "-device", "e1000,netdev=n0,mac=52:54:00:aa:bb:01"],
    ...["-netdev", "user,id=n1,restrict=on", "-device", "virtio-net-pci,netdev=n1,addr=0x9"],
    ...["-device", "virtio-rng-pci", "-smp", "2", "-vga", "std"],
    ...["-cpu", "qemu64,+pclmulqdq,-sse4.1"],
  ],
} as const;

/** PCI devices as the guest finds them: place, what they are; without the addresses that its firmware gives them. */
function pciOf(text: string): string[] {
  return [...text.matchAll(/Bus +(\d+), device +(\d+), function +(\d+):\s+([^\n]+)/g)].map(
    ([, bus, device, part, what]) => `${bus}:${device}.${part} ${what}`,
  );
}

test(
  "its devices lie where they were, its disk and MAC addresses are what they were, and it counts",
  async () => {
    const at = await newHosts();
    const guest = await at.guest({
      tpm: true,
      append: "tpm=extend",
      disks: [{ name: "data.raw", format: "raw" }],
      extraArgs: [...devices.pc],
    });
    await guest.waitForTick(2);
    await at.serve();
    await doneOf(at.send(guest));
    const there = await expectMoved(at, guest);
    const monitor = await callMonitor(there.qmpPath, () => there.isRunning());
    const before = pciOf(
      (await monitor.execute("human-monitor-command", { "command-line": "info pci" })) as unknown as string,
    );
    const qemu = there.noted()!.qemu!;
    await monitor.execute("quit").catch(() => {});
    monitor.close();
    await until(() => !isRunning(qemu), "the end of its QEMU");
    const disk = { path: join(at.hosts.store, "web1", "data.raw"), format: "raw" } as const;
    const writtenMs = statSync(disk.path).mtimeMs;

    const exporting = at.hosts.destination(["export", "web1", "--libvirt", "--net", "user"]);
    await exporting.exit;
    expect(exporting.events.at(-1)).toMatchObject({ event: "exported", name: "web1" });
    const { xml, steps } = exporting.events.at(-1) as unknown as { xml: string; steps: string[] };
    expect(xml).toContain("52:54:00:aa:bb:01");
    const host = await libvirts.host("hosta");
    const serial = join(libvirts.folder(), "serial.log");
    const path = join(at.folder, "web1.xml");
    writeFileSync(path, xml.replace("<serial type='pty'>", `<serial type='file'><source path='${serial}'/>`));
    // What is to be done before that, as it was printed: libvirt's swtpm finds the TPM's state.
    const installs = steps.filter((step) => step.startsWith("install "));
    expect(installs).toHaveLength(3);
    for (const step of installs) await runChild(host.command(["/bin/sh", "-c", step]));
    await host.virsh("define", path);
    await host.virsh("start", "web1");
    // libvirt has words for this processor, and says it as it was.
    expect(xml).not.toContain("qemu:commandline");
    expect(wordsOf(host.qemuPid("web1")!)).toContain("qemu64,pclmulqdq=on,sse4.1=off");
    const info = await host.virsh("qemu-monitor-command", "--hmp", "web1", "info pci");
    expect(pciOf(info)).toEqual(before);
    await until(
      () => existsSync(serial) && /^tick \d+/m.test(readFileSync(serial, "latin1")),
      "a tick",
      90_000,
    );
    expect(readFileSync(serial, "latin1")).toContain(tpmSealedLine);
    await host.virsh("destroy", "web1");
    // It boots, and begins to count anew.
    expect(await ticksOnDisk(disk)).toContain(1);
    expect(statSync(disk.path).mtimeMs).toBeGreaterThan(writtenMs);
  },
  limitMs,
);

/** libvirt takes no comma in a serial number. */
const plainSerial = (word: string) => word.replace(",serial=two,, too", ",serial=two");

test(
  "each of the usual VMs that can be exported is one that libvirt takes",
  async () => {
    const host = await libvirts.host("hosta");
    for (const [n, { what, words }] of [virtioPc, nographicPc, barePc, q35InJson].entries()) {
      const model = modelOf(parseDefinition(["qemu-system-x86_64", ...words.map(plainSerial)]));
      const machine = model.machine === "pc" ? "pc-i440fx-7.2" : model.machine;
      const uuid = `12345678-1234-1234-1234-12345678900${n}`;
      const place = {
        name: `vm${n}`,
        uuid,
        pathOf: (file: string) => `/vms/${file}`,
        net: null,
        cpuMap: readCpuMap(),
        isOldTpm: false,
      };
      const xml = exportDomain({ ...model, machine }, place).xml.replaceAll(/<!--.*?-->\n/g, "");
      const path = join(libvirts.folder(), `vm${n}.xml`);
      writeFileSync(path, xml);
      const { code, stderr } = await host.tryVirsh("define", path);
      expect({ what, code, stderr: stderr.trim() }).toEqual({ what, code: 0, stderr: "" });
      // What libvirt makes of it has no device that it added itself.
      const kept = await host.virsh("dumpxml", "--inactive", `vm${n}`);
      for (const device of ["memballoon model='virtio'", "graphics", "sound", "rng"]) {
        expect({ what, device, is: kept.includes(`<${device}`) }).toEqual({
          what,
          device,
          is: xml.includes(`<${device}`),
        });
      }
    }
  },
  limitMs,
);
