/**
 * A destination that is trusted, and means harm to a domain of the source's libvirtd: whatever it answers, the domain goes
 * on at the source, in the QEMU that it had, defined as it was.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageTypes, type Packet } from "../../../src/vm/libvirt/rpc/packet.ts";
import { procedures } from "../../../src/vm/libvirt/rpc/procedures.ts";
import type { RawPeer } from "../../support/hostile/raw/peer.ts";
import { HostileLibvirtd } from "../../support/libvirt/hostile/hostile-libvirtd.ts";
import {
  answerOf,
  cookieXml,
  cookieXmls,
  errorPacket,
  finishedResult,
  packet,
  preparedResult,
  replyPacket,
} from "../../support/libvirt/hostile/rpc-talk.ts";
import { LibvirtHost } from "../../support/libvirt/libvirt-host.ts";
import { builtBinary, runMigrate } from "../../support/system/process.ts";
import { until } from "../../support/system/until.ts";

const name = "vm1";
const uuid = "5a6b7c8d-1111-4222-8333-9a0b1c2d3e4f";
const slowMs = 120_000;
let folder: string;
let host: LibvirtHost;
let there: HostileLibvirtd;
let qemu: number | undefined;
let definition: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lv-"));
  host = await LibvirtHost.start(folder, "hosta");
  there = await HostileLibvirtd.open();
  // It boots nothing, and runs.
  const xml = `<domain type='qemu'><name>${name}</name><uuid>${uuid}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices><memballoon model='none'/><graphics type='vnc' passwd='hush' autoport='yes'/></devices></domain>`;
  writeFileSync(join(folder, "vm1.xml"), xml);
  await host.virsh("define", join(folder, "vm1.xml"));
  await host.virsh("start", name);
  qemu = host.qemuPid(name);
  definition = await host.virsh("dumpxml", "--inactive", "--security-info", name);
}, 300_000);

afterEach(async () => {
  const state = async () => (await host.virsh("domstate", name)).trim();
  await until(async () => (await state()) === "running", "the domain to go on", 60_000);
  expect(host.qemuPid(name)).toBe(qemu!);
  expect(await host.virsh("dumpxml", "--inactive", "--security-info", name)).toBe(definition);
  // Nothing of it is on its way any more.
  expect((await host.virsh("domjobinfo", name)).toLowerCase()).toContain("none");
}, slowMs);

afterAll(async () => {
  await there?.close();
  await host?.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

const domain = { name, uuid };
const capabilities = "  <capabilities>\n  </capabilities>\n";
const prepared = cookieXml(capabilities, domain);
const statistics = cookieXmls.finished
  .slice(cookieXmls.finished.indexOf("  <statistics>"))
  .replace("</qemu-migration>\n", "");
const finished = cookieXml(statistics, domain);

/** What an honest libvirtd answers about this domain. */
function honest(call: Packet): Uint8Array[] {
  const { procedure, serial } = call;
  if (procedure === procedures.DOMAIN_MIGRATE_PREPARE3_PARAMS)
    return [replyPacket("DOMAIN_MIGRATE_PREPARE3_PARAMS", serial, preparedResult(prepared))];
  if (procedure === procedures.DOMAIN_MIGRATE_FINISH3_PARAMS)
    return [
      replyPacket("DOMAIN_MIGRATE_FINISH3_PARAMS", serial, finishedResult({ ...domain, cookie: finished })),
    ];
  return [answerOf(call)];
}
/** The same, but for one procedure. */
const but = (named: keyof typeof procedures, answer: (call: Packet) => Uint8Array[]) => (call: Packet) =>
  call.procedure === procedures[named] ? answer(call) : honest(call);

const finish = (change: object) =>
  but("DOMAIN_MIGRATE_FINISH3_PARAMS", ({ serial }) => [
    replyPacket(
      "DOMAIN_MIGRATE_FINISH3_PARAMS",
      serial,
      finishedResult({ ...domain, cookie: finished, ...change }),
    ),
  ]);
const prepare = (cookie: string, uri: string | null = null) =>
  but("DOMAIN_MIGRATE_PREPARE3_PARAMS", ({ serial }) => [
    replyPacket("DOMAIN_MIGRATE_PREPARE3_PARAMS", serial, preparedResult(cookie, uri)),
  ]);
const others = { name: "local", uuid: "5a6b7c8d-2222-4222-8333-9a0b1c2d3e4f" };

async function sent() {
  const { host: at, port } = there.destination.address;
  const words = ["send", `libvirt:${name}`, `${at}:${port}`, "--ticket", there.destination.ticket!];
  const send = runMigrate([...words, "--retry-for", "0s", "--json"], {
    home: join(folder, "home"),
    binary: host.command([builtBinary]),
  });
  const error = await send.waitFor("error", { deadlineMs: 90_000 });
  const { code } = await send.exit;
  expect(code).toBeGreaterThan(0);
  return { ...error, all: `${send.stdout()}${send.stderr()}` };
}

test.each([
  ["FINISH is answered for another domain", finish({ name: others.name }), /another domain/],
  ["FINISH is answered for another UUID", finish({ uuid: others.uuid }), /another domain/],
  [
    "FINISH is answered with a cookie about another",
    finish({ cookie: cookieXml(statistics, others) }),
    /another domain/,
  ],
  [
    "FINISH fails",
    but("DOMAIN_MIGRATE_FINISH3_PARAMS", ({ serial }) => [
      errorPacket("DOMAIN_MIGRATE_FINISH3_PARAMS", serial, "no\u001b[2J"),
    ]),
    /no/,
  ],
  ["the domain is wanted elsewhere", prepare(prepared, "tcp:192.0.2.1:49152"), /another place/],
  [
    "the domain is wanted at another socket",
    prepare(prepared, "unix:///run/libvirt/libvirt-sock"),
    /another place/,
  ],
  [
    "PREPARE's cookie has an entity",
    prepare(`<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/shadow">]>${prepared}`),
    /proper XML/,
  ],
  ["PREPARE's cookie is about another", prepare(cookieXml(capabilities, others)), /another domain/],
  [
    "an answer comes twice",
    but("CONNECT_OPEN", (call) => [answerOf(call), answerOf(call)]),
    /nobody asked for/,
  ],
  [
    "an answer is to another call",
    but("CONNECT_OPEN", ({ serial }) => [replyPacket("CONNECT_CLOSE", serial)]),
    /nobody asked for/,
  ],
  [
    "an answer has another serial",
    but("CONNECT_OPEN", ({ serial }) => [replyPacket("CONNECT_OPEN", serial + 1)]),
    /nobody asked for/,
  ],
  [
    "an event comes",
    but("CONNECT_OPEN", () => [packet({ procedure: 318, type: messageTypes.message })]),
    /nobody asked for/,
  ],
  [
    "it calls the source's libvirtd",
    but("CONNECT_OPEN", () => [packet({ procedure: 10, serial: 1 })]),
    /nobody asked for/,
  ],
  [
    "it wants a password",
    but("AUTH_LIST", ({ serial }) => [
      replyPacket("AUTH_LIST", serial, Buffer.from("0000000100000001", "hex")),
    ]),
    /authentication/,
  ],
  [
    "it answers without end",
    but("CONNECT_OPEN", () => [Buffer.from("7fffffff", "hex"), Buffer.alloc(4096)]),
    /more than/,
  ],
] as [string, (call: Packet) => Uint8Array[], RegExp][])(
  "%s",
  async (_what, answer, says) => {
    there.plays({ answer });
    const error = await sent();
    expect(`${error.message} ${error.hint ?? ""}`).toMatch(says);
    expect(error.all).not.toContain("\u001b");
    // Its definition is in the journal, for root alone, and nowhere else.
    expect(error.all).not.toContain("hush");
  },
  slowMs,
);

test.each([
  ["it closes while the answer is held", ({ peer }) => peer.close(), "network"],
  [
    "it has other bytes",
    ({ peer }) => peer.send("ready", { digest: `sha256:${"5".repeat(64)}`, readBack: "none" }),
    "integrity",
  ],
  ["it owns what was not released", ({ peer }) => peer.send("owned", {}), "in-doubt"],
  ["it has taken over already", ({ peer }) => peer.send("closed", {}), "protocol"],
] as [string, (visit: { peer: RawPeer }) => unknown, string][])(
  "all of it came, and %s",
  async (_what, sealed, code) => {
    there.plays({ answer: honest, sealed });
    expect((await sent()).code).toBe(code as never);
  },
  slowMs,
);

test("what the journal keeps of the definition, its password among it, is for root alone", () => {
  const home = join(folder, "home");
  expect(statSync(home).mode & 0o077).toBe(0);
  const files = readdirSync(home).filter((file) => file.startsWith("journal"));
  expect(files.filter((file) => (statSync(join(home, file)).mode & 0o077) !== 0)).toEqual([]);
  expect(files.some((file) => readFileSync(join(home, file), "latin1").includes("hush"))).toBe(true);
});
