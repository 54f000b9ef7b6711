/** A guest that is resumed says where it is: a real QEMU, whose card's packets come to this test. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resumeGuest } from "../../../src/vm/qemu/outgoing/resume-guest.ts";
import { rollBack } from "../../../src/vm/qemu/outgoing/roll-back.ts";
import { Qmp } from "../../../src/vm/qemu/qmp/qmp.ts";
import { killChildren, startChild } from "../../support/system/child.ts";
import { until } from "../../support/system/until.ts";

const mac = "52:54:00:12:34:99";
/** Ethernet: to all, from the card, reverse ARP (RFC 903). */
const reverseArp = Buffer.from(`ffffffffffff${mac.replaceAll(":", "")}8035`, "hex");

let folder: string;
let qmp: Qmp | undefined;
let packets: Buffer[];
let port: Bun.udp.Socket<"buffer">;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "migrate-announce-"));
  packets = [];
  port = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: { data: (_, packet) => void packets.push(Buffer.from(packet)) },
  });
});
afterEach(async () => {
  qmp?.close();
  port.close();
  await killChildren();
  rmSync(folder, { recursive: true, force: true });
});

/** A VM that has not been started, and a connection to its QEMU. */
async function stopped(...card: string[]): Promise<Qmp> {
  const path = join(folder, "qmp");
  const words = ["-S", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none", ...card];
  const child = startChild(["qemu-system-x86_64", ...words, "-qmp", `unix:${path},server=on,wait=off`]);
  await until(() => existsSync(path), `${path}; ${child.stderr()}`, 30_000);
  qmp = await Qmp.connect(path);
  return qmp;
}

const card = () => [
  ...["-netdev", `socket,id=n0,udp=127.0.0.1:${port.port},localaddr=127.0.0.1:0`],
  ...["-device", `virtio-net-pci,netdev=n0,mac=${mac},romfile=`],
];
const announced = () => packets.some((packet) => packet.subarray(0, reverseArp.length).equals(reverseArp));

test("where it has arrived", async () => {
  expect(await resumeGuest(await stopped(...card()))).toEqual({ outcome: "runs" });
  await until(announced, "its announcement");
});

test("where its move was given up", async () => {
  const there = await stopped(...card());
  await rollBack(there, { wasRunning: true, before: null }, "migrate-test");
  await until(announced, "its announcement");
});

test("where it went on by itself, as QEMU has it do when its move is broken off", async () => {
  const there = await stopped(...card());
  await there.execute("cont");
  await rollBack(there, { wasRunning: true, before: null }, "migrate-test");
  await until(announced, "its announcement");
});

test("and nowhere if it is not to", async () => {
  const there = await stopped(...card());
  await rollBack(there, { wasRunning: true, before: null, announces: false }, "migrate-test");
  expect(await resumeGuest(there, { announces: false })).toEqual({ outcome: "runs" });
  expect(packets).toEqual([]);
  // It could have.
  expect(await resumeGuest(there)).toEqual({ outcome: "runs" });
  await until(announced, "its announcement");
});

test("and one without a card runs as well", async () => {
  expect(await resumeGuest(await stopped())).toEqual({ outcome: "runs" });
  expect(await qmp!.execute("query-status")).toMatchObject({ running: true });
  expect(packets).toEqual([]);
});
