/** Who says that it is somebody else: in between, with a stolen certificate, or without TLS at all. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { TrustFile } from "../../../src/channel/trust.ts";
import { openHome } from "../../../src/home/home.ts";
import { Journal } from "../../../src/migration/journal/journal.ts";
import { limits } from "../../../src/protocol/limits.ts";
import { encodeMessage } from "../../../src/protocol/messages.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { type HostileGround, makeIdentity } from "../../support/hostile/hostile-ground.ts";
import { ManInTheMiddle } from "../../support/hostile/man-in-the-middle.ts";
import { StolenServer, stealInto } from "../../support/hostile/stolen-certificate.ts";
import { sendOnce } from "../../support/moves/sending.ts";

let ground: HostileGround;
const closers: (() => Promise<unknown>)[] = [];

testsAttackDestination({}, (made) => {
  ground = made;
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

let sends = 0;

/**
 * A new source's send to a port, and the states of its sessions afterwards: one that no destination
 * has heard of is forgotten. Its files must be as they were in any case.
 */
async function sendTo(
  port: number,
  how: { ticket?: string | undefined; secure?: boolean; prepare?: (home: string) => Promise<void> },
) {
  const folder = join(ground.root, `source-home-${++sends}`);
  const home = join(folder, "home");
  mkdirSync(folder);
  openHome(home);
  await how.prepare?.(home);
  const ram = join(folder, "vm.ram");
  writeFileSync(ram, "the VM's memory");
  const { error } = await sendOnce({
    home,
    vm: { name: `vm${sends}`, ram, disks: [] },
    address: { host: "127.0.0.1", port },
    ticket: how.ticket,
    ...(how.secure === undefined ? {} : { secure: how.secure }),
    retryForMs: 1000,
  });
  const journal = Journal.open(home);
  const states = journal.all("source").map(({ state }) => state);
  journal.close();
  expect(readFileSync(ram, "utf8")).toBe("the VM's memory");
  return { error: error!, states };
}

const except = { except: ["source-home-"] };

async function manInTheMiddle(): Promise<ManInTheMiddle> {
  const man = await ManInTheMiddle.open(ground.port, await makeIdentity());
  closers.push(() => man.close());
  return man;
}

describe("a man in the middle", () => {
  // [TLS-4] [PAIR-1]
  test("cannot relay a ticket's proof, even from a source that did not look whom it talks to", async () => {
    const man = await manInTheMiddle();
    const source = await makeIdentity();
    await ground.withstands(async () => {
      const careless = await ground.connect({ identity: source, port: man.port });
      await careless.hello().expect("welcome");
      careless.pair(ground.ticket);
      expect(await careless.error()).toEqual({
        code: "ticket-invalid",
        message: "The proof of the ticket is wrong for this connection.",
      });
    });
    expect(man.overheard.length).toBeGreaterThan(0);
    // The ticket is still good for the source that it was meant for.
    const direct = await ground.connect({ identity: source });
    await direct.join({ ticket: ground.ticket });
  });

  // [TLS-3]
  test("is recognised by the ticket's fingerprint before the source says a word", async () => {
    const man = await manInTheMiddle();
    await ground.withstands(async () => {
      const { error, states } = await sendTo(man.port, { ticket: ground.ticket });
      expect(error.code).toBe("wrong-identity");
      expect(error.exitCode).toBe(3);
      expect(error.message).toContain("is not the host that made this ticket");
      expect(error.hint).toContain("somebody may be in between");
      expect(states).toEqual([]);
    }, except);
    expect(man.connections).toBe(1);
    expect(man.overheard.toString("hex")).toBe("");
  });

  test("is recognised by the remembered fingerprint", async () => {
    const man = await manInTheMiddle();
    const { fingerprint } = await loadIdentity(ground.home);
    await ground.withstands(async () => {
      const { error } = await sendTo(man.port, {
        secure: true,
        prepare: async (home) => {
          await TrustFile.load(home).add(fingerprint, "destination", `127.0.0.1:${man.port}`);
        },
      });
      expect(error.code).toBe("wrong-identity");
      expect(error.message).toContain("shows another identity than it used to");
    }, except);
    expect(man.overheard.toString("hex")).toBe("");
  });

  test("is not spoken to by a source that has neither ticket nor memory", async () => {
    const man = await manInTheMiddle();
    await ground.withstands(async () => {
      const { error } = await sendTo(man.port, { secure: true });
      expect(error.code).toBe("not-trusted");
    }, except);
    expect(man.connections).toBe(0);
  });
});

describe("a stolen certificate", () => {
  // [TLS-2]
  test("opens the door with its own key alone", async () => {
    const known = await ground.trustedSource();
    const thief = await makeIdentity();
    const hello = encodeMessage("hello", { version: limits.version, role: "control", software: "raw" });
    await ground.withstands(async () => {
      const stolen = { certificatePem: known.certificatePem, privateKeyPem: thief.privateKeyPem };
      const heard = await stealInto(ground.port, stolen, hello);
      // An alert, where what the thief sent behind it did not turn the close into a reset.
      expect(["alert", "closed"]).toContain(heard.kind);
      // The same handshake with the right key is let in: it is the signature that made the difference.
      const honest = await stealInto(ground.port, known, hello);
      expect(honest.kind).toBe("data");
      expect(honest.content.subarray(5).toString()).toContain('"trusted":true');
    });
    await ground.hasTold("shows a certificate and does not hold its key");
  });

  test("does not make a destination", async () => {
    const { certificatePem, privateKeyPem } = await loadIdentity(ground.home);
    const thief = await makeIdentity();
    const stolen = await StolenServer.open({ certificatePem, privateKeyPem: thief.privateKeyPem });
    closers.push(() => stolen.close());
    await ground.withstands(async () => {
      const { error, states } = await sendTo(stolen.port, { ticket: ground.ticket });
      expect(error.code).toBe("wrong-identity");
      expect(error.message).toContain("shows a certificate and does not hold its key");
      expect(states).toEqual([]);
    }, except);
    for (const heard of stolen.heard) expect((await heard).kind).toBe("alert");
    expect(stolen.heard).toHaveLength(1);

    // The same server with the right key is spoken to: HELLO is the first thing it hears.
    const real = await StolenServer.open({ certificatePem, privateKeyPem });
    closers.push(() => real.close());
    await sendTo(real.port, { ticket: ground.ticket });
    const heard = await real.heard[0]!;
    expect(heard.kind).toBe("data");
    expect(heard.content.subarray(5).toString()).toContain('"role":"control"');
  });
});

describe("secure and insecure hosts", () => {
  // [TLS-5]
  test("a send without --insecure to a host that serves with it ends with that sentence", async () => {
    const insecure = await ground.another({ home: join(ground.root, "insecure-home"), secure: false });
    closers.push(() => insecure.stop());
    const { error, states } = await sendTo(insecure.address.port, { ticket: ground.ticket });
    expect(error.code).toBe("insecure-mismatch");
    expect(error.exitCode).toBe(3);
    expect(error.hint).toContain("--insecure");
    expect(states).toEqual([]);
    await ground.hasTold("the other side speaks TLS, and this side does not", insecure);
  });

  test("a send with --insecure to a host that serves without it ends with that sentence", async () => {
    await ground.withstands(async () => {
      const { error, states } = await sendTo(ground.port, { secure: false });
      expect(["insecure-mismatch", "network"]).toContain(error.code);
      expect(error.hint).toContain("--insecure");
      expect(states).toEqual([]);
    }, except);
    await ground.hasTold("the peer does not speak TLS on this connection");
  });

  test("a host that hangs up on plain bytes without a word is explained as well", async () => {
    const server: Server = createServer((socket) => socket.once("data", () => socket.destroy()));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closers.push(() => new Promise((resolve) => server.close(resolve)));
    const { error } = await sendTo((server.address() as { port: number }).port, { secure: false });
    expect(error.code).toBe("network");
    expect(error.hint).toContain("--insecure");
  });

  // [TLS-1]
  test("a host that speaks TLS 1.2 alone is not spoken to", async () => {
    const { certificatePem, privateKeyPem } = await loadIdentity(ground.home);
    let heard = 0;
    const server = createTlsServer(
      { cert: certificatePem, key: privateKeyPem, maxVersion: "TLSv1.2" },
      (socket) => socket.on("data", (data) => (heard += data.length)),
    );
    server.on("tlsClientError", () => {});
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    closers.push(() => new Promise((resolve) => server.close(resolve)));
    const { error } = await sendTo((server.address() as { port: number }).port, { ticket: ground.ticket });
    expect(error.code).toBe("version");
    expect(error.message).toContain("does not speak TLS 1.3");
    expect(heard).toBe(0);
  });
});
