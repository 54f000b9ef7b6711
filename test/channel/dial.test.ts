/** TLS and the pin over any transport: a unix socket, as one that ssh forwards would be. */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CertificateWithKey, fingerprintOf, makeCertificate } from "../../src/channel/certificate.ts";
import { type DialOptions, dial } from "../../src/channel/dial.ts";
import type { FrameSocket } from "../../src/channel/frame-socket.ts";
import { tlsOptions } from "../../src/channel/tls.ts";
import type { Transport } from "../../src/channel/transport/transport.ts";
import { MigrateError } from "../../src/protocol/errors.ts";
import { encodeMessage } from "../../src/protocol/messages.ts";
import { until } from "../support/system/until.ts";

let folder: string;
let credentials: CertificateWithKey;
let fingerprint: string;
const undone: (() => void)[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "migrate-dial-"));
  credentials = await makeCertificate();
  fingerprint = fingerprintOf(credentials.certificatePem);
});
afterEach(() => {
  for (const undo of undone.splice(0).reverse()) undo();
});
afterAll(() => rmSync(folder, { recursive: true }));

let sockets = 0;

/** A TLS server on a unix socket, and the transport that leads there. */
function forwarded(): { transport: Transport; heard: Buffer[]; made: () => number; open: () => number } {
  const path = join(folder, `${++sockets}`);
  const heard: Buffer[] = [];
  let [made, open] = [0, 0];
  const server = Bun.listen({
    unix: path,
    tls: tlsOptions(credentials),
    socket: {
      open: () => {
        made++;
        open++;
      },
      close: () => void open--,
      data: (_socket, data) => void heard.push(Buffer.from(data)),
      error: () => {},
    },
  });
  undone.push(() => server.stop(true));
  return {
    transport: { connect: (connecting) => Bun.connect({ unix: path, ...connecting }) },
    heard,
    made: () => made,
    open: () => open,
  };
}

const dialling = (transport: Transport, change: Partial<DialOptions> = {}): Promise<FrameSocket> =>
  dial(transport, {
    place: "hostb:7600",
    credentials,
    standing: "control",
    checkPeer: (peer) => (peer === fingerprint ? null : new MigrateError("wrong-identity", "somebody else")),
    ...change,
  });

const refusal = (dialled: Promise<FrameSocket>) =>
  dialled.then(
    () => undefined,
    (thrown: MigrateError) => thrown,
  );

// [TLS-1] [TLS-2] [TLS-4]
test("the same TLS stands over a unix socket: who is there is known, and keys are bound to the connection", async () => {
  const { transport, heard } = forwarded();
  const link = await dialling(transport);
  undone.push(() => link.destroy());
  expect(link.peer).toBe(fingerprint);
  expect(link.exporter().length).toBe(32);
  const frame = encodeMessage("ping", {});
  link.send(frame);
  await until(() => Buffer.concat(heard).equals(frame), "the frame");
});

// [TLS-3]
test("a host that is not the one that is pinned receives not a byte", async () => {
  const { transport, heard, open } = forwarded();
  const error = await refusal(
    dialling(transport, { checkPeer: () => new MigrateError("wrong-identity", "no") }),
  );
  expect(error).toMatchObject({ code: "wrong-identity" });
  await until(() => open() === 0, "the end of the connection");
  expect(heard).toEqual([]);
});

test("what cannot be reached, does not answer or was given up is named by its address", async () => {
  const nowhere: Transport = {
    connect: (connecting) => Bun.connect({ unix: join(folder, "nobody"), ...connecting }),
  };
  const unreachable = await refusal(dialling(nowhere));
  expect(unreachable).toMatchObject({ code: "network" });
  expect(unreachable!.message).toStartWith("cannot connect to hostb:7600: ");

  const silent: Transport = { connect: () => new Promise(() => {}) };
  expect(await refusal(dialling(silent, { timeoutMs: 50 }))).toMatchObject({
    code: "network",
    message: "hostb:7600 did not answer within 0.05 s",
  });
  const controller = new AbortController();
  const dialled = refusal(dialling(silent, { signal: controller.signal }));
  controller.abort();
  expect(await dialled).toMatchObject({ code: "cancelled" });
});

test("a connection that comes to stand after it was given up is closed again", async () => {
  const { transport, made, open } = forwarded();
  const may = Promise.withResolvers<void>();
  const slow: Transport = { connect: (connecting) => may.promise.then(() => transport.connect(connecting)) };
  const dialled = refusal(dialling(slow, { timeoutMs: 20 }));
  expect(await dialled).toMatchObject({ code: "network" });
  may.resolve();
  await until(() => made() === 1 && open() === 0, "the connection and its end");
});
