/** A VM that arrives in a real QEMU: what is reported if it cannot become whole. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { ArrivingVm } from "../../../src/migration/providers/qemu/arriving-vm.ts";
import { signalProcess, waitForEnd } from "../../../src/platform/process-id.ts";
import type { MigrateError } from "../../../src/protocol/errors.ts";
import type { ArrivingStreams } from "../../../src/transfer/doors/arriving-streams.ts";
import type { DoorPool } from "../../../src/transfer/doors/door-pool.ts";
import { Staging } from "../../../src/vm/folder/staging.ts";
import { RunFolder } from "../../../src/vm/qemu/run-folder.ts";
import { wireModelOf } from "../../support/guests/qemu-place.ts";
import { RunGround } from "../../support/guests/run-ground.ts";
import { smallMachine } from "../../support/hostile/raw/running-vm.ts";
import { withDeadline } from "../../support/system/deadline.ts";

const session = "ab".repeat(16);
const name = "web1";

let ground: RunGround;
let vm: ArrivingVm;
let first: Promise<MigrateError>;
beforeEach(() => {
  ground = new RunGround();
  const staging = new Staging(ground.folder("store"), session, []);
  staging.prepare();
  const failure = Promise.withResolvers<MigrateError>();
  first = withDeadline(failure.promise, 20_000, () => "a failure");
  vm = new ArrivingVm({
    offered: {
      ...{ session, name, vm: "", peer: "insecure", store: staging.store, side: "destination", files: [] },
      ...{ tagKey: "cd".repeat(16), provider: "qemu", kept: null, bytes: 0 },
    },
    machine: {
      ...{ side: "destination", live: false, definition: wireModelOf(smallMachine), disks: [] },
      ...{ channels: 0, patienceMs: 60_000 },
    },
    policy: { allowTcg: true, net: { kind: "none" }, confinement: null },
    staging,
    home: ground.home,
    // What the doors are told is not what this is about.
    doors: { post: () => {}, postAll: () => {} } as unknown as DoorPool,
    isOwned: () => false,
    failed: failure.resolve,
    received: () => {},
  });
});
afterEach(async () => {
  await vm.end();
  await ground.clear();
});

/** Starts QEMU; gives the function that kills it, and the one by which a door reports that a stream failed. */
async function started() {
  const { instance, streamToken: token } = await vm.start();
  const streams = vm.streams as ArrivingStreams;
  const asked = { conn: 1, peer: null, remote: "127.0.0.1:1", session, token, stream: 0 };
  streams.admit(0, { kind: "stream", ...asked });
  const qemu = RunFolder.at(ground.home, name).noted()!.qemu!;
  return {
    kill: async () => {
      signalProcess(qemu, "SIGKILL");
      expect(await waitForEnd(qemu, 20_000)).toBe(true);
    },
    failStream: () =>
      streams.receive(0, {
        ...{ kind: "stream-state", session, instance, stream: 0, state: "failed", bytes: 0 },
        ...{ digest: null, bytesReceived: 0 },
        error: { code: "protocol", message: "that is no frame", side: "destination" },
      }),
  };
}

test("a QEMU that ends before the VM is whole is reported", async () => {
  const { kill } = await started();
  await kill();
  expect(await first).toMatchObject({ code: "qemu-failed", side: "destination" });
});

test("a stream that failed is reported, and not the end of QEMU that came of it and was known first", async () => {
  const { kill, failStream } = await started();
  await kill();
  failStream();
  expect(await first).toMatchObject({ code: "protocol" });
});
