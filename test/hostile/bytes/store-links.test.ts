/** Another user of the destination's host, who may make names in the store and knows what will come. */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { asMigrateError } from "../../../src/protocol/errors.ts";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { type HostileGround, newSession } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity, RawPeer } from "../../support/hostile/raw/peer.ts";
import { newVmName } from "../../support/hostile/raw/session.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import { startServing } from "../../support/moves/serving.ts";

let ground: HostileGround;
let source: RawIdentity;
let outside: string;
let canary: string;

testsAttackDestination({}, async (made) => {
  outside = join(made.root, "outside");
  canary = join(outside, "canary");
  ground = made;
  source = await ground.trustedSource();
});

const newVm = () =>
  new RawVm(newVmName(), [
    { kind: "ram", name: "ram", content: Buffer.alloc(5000, "r") },
    { kind: "tpm", name: "state", content: Buffer.alloc(100, "t") },
  ]);

/** What the destination says of an offer in whose way something lies. */
async function offerInto(session: string): Promise<{ code: string; message: string }> {
  const peer = await ground.joined(source, session);
  return peer.sendJson("offer", newVm().offer()).error();
}

describe("a staging folder that is there already as", () => {
  test.each([
    ["a link to a folder elsewhere", (path: string) => symlinkSync(outside, path), "ELOOP|ENOTDIR"],
    ["a link to a file elsewhere", (path: string) => symlinkSync(canary, path), "ELOOP|ENOTDIR"],
    ["a link that leads nowhere", (path: string) => symlinkSync(join(outside, "new"), path), "ELOOP|ENOTDIR"],
    ["a folder with a link for a file", (path: string) => linkIn(path, "ram", canary), "ELOOP"],
    [
      "a folder with a link for a file to be made",
      (path: string) => linkIn(path, "ram", join(outside, "new")),
      "ELOOP",
    ],
    [
      "a folder with a link for the TPM's folder",
      (path: string) => linkIn(path, "tpm", outside),
      "ELOOP|ENOTDIR",
    ],
  ])("%s is not written through", async (_what, make, reason) => {
    const session = newSession();
    make(join(ground.store, `.migrate-${session}`));
    chmodSync(outside, 0o755);
    await ground.withstands(
      async () => {
        const { code, message } = await offerInto(session);
        expect(code).toBe("store-failed");
        expect(message).toMatch(new RegExp(`^the destination cannot write to its store \\((${reason})\\)$`));
      },
      { except: [`store/.migrate-${session}`] },
    );
  });
});

function linkIn(folder: string, name: string, target: string): void {
  mkdirSync(folder, { mode: 0o700 });
  symlinkSync(target, join(folder, name));
}

/** A session under way, and a lane of it. */
async function receiving(
  vm = newVm(),
): Promise<{ vm: RawVm; peer: RawPeer & { session: string }; lane: RawPeer }> {
  const peer = await ground.joined(source);
  const { laneToken } = await peer.offer(vm.offer());
  const lane = await ground.connect({ identity: source });
  await lane.hello({ role: "lane", session: peer.session, laneToken }).expect("welcome");
  return { vm, peer, lane };
}

/** The session of a new VM that is whole at the destination. */
async function ready() {
  const vm = new RawVm(newVmName());
  const { peer, lane } = await receiving(vm);
  await lane.sendChunks(vm.chunks());
  await peer.send("seal", vm.seal()).expect("ready");
  return { vm, peer };
}

describe("a staged file that is turned into a link", () => {
  test("before the first chunk is not written through", async () => {
    const { vm, peer, lane } = await receiving();
    const path = ground.staged(peer.session, "ram");
    rmSync(path);
    symlinkSync(canary, path);
    await ground.withstands(async () => {
      expect(await lane.sendBytes(vm.chunks()[0]!).error()).toEqual({
        code: "store-failed",
        message: "the destination cannot write to its store (ELOOP)",
      });
    });
  });

  test("before the seal is not taken for the VM", async () => {
    const { vm, peer, lane } = await receiving();
    await lane.sendChunks(vm.chunks());
    const path = ground.staged(peer.session, "ram");
    rmSync(path);
    symlinkSync(canary, path);
    await ground.withstands(async () => {
      expect((await peer.send("seal", vm.seal()).error()).code).toBe("store-failed");
    });
    expect(ground.sessions().find(({ session }) => session === peer.session)?.state).toBe("receiving");
  });

  test("under the manifest's name is not written through, and the VM is given back", async () => {
    const { vm, peer } = await ready();
    const manifest = ground.staged(peer.session, "vm.json");
    symlinkSync(canary, manifest);
    const staging = `store/.migrate-${peer.session}`;
    const except = [staging, `${staging}/vm.json`, `${staging}/${vm.name}.ram`];
    const release = async () => {
      await peer.send("release", {}).expect("cancelled");
    };
    await ground.withstands(release, { except });
    expect(ground.sessions().find(({ session }) => session === peer.session)?.state).toBe("cancelled");
    expect(existsSync(join(ground.store, vm.name))).toBe(false);
  });
});

test("a name that is taken between READY and RELEASE keeps what took it", async () => {
  const { vm, peer } = await ready();
  symlinkSync(outside, join(ground.store, vm.name));
  await ground.withstands(
    async () => {
      expect((await peer.send("release", {}).error()).code).toBe("name-taken");
    },
    { except: [`store/.migrate-${peer.session}/vm.json`] },
  );
  rmSync(join(ground.store, vm.name));
  const again = await ground.joined(source, peer.session, 2);
  await again.send("release", {}).expect("owned");
  const there = readFileSync(join(ground.store, vm.name, `${vm.name}.ram`));
  expect(there.equals(vm.files[0]!.content)).toBe(true);
});

describe("a store is not used", () => {
  const failure = async (store: string) => {
    const started = startServing({ home: join(ground.root, "other-home"), store, secure: true });
    const error = asMigrateError(
      await started.then(
        () => undefined,
        (thrown: unknown) => thrown,
      ),
    );
    expect(error.code).toBe("store-unusable");
    return error;
  };

  test("whose lock is a link", async () => {
    const store = join(ground.root, "store-of-links");
    mkdirSync(store);
    symlinkSync(join(outside, "made-by-lock"), join(store, ".migrate-lock"));
    expect((await failure(store)).message).toContain("lock");
    expect(existsSync(join(outside, "made-by-lock"))).toBe(false);
  });

  test("whose lock is a pipe, for which it would wait for good", async () => {
    const store = join(ground.root, "store-of-pipes");
    mkdirSync(store);
    expect(Bun.spawnSync(["mkfifo", join(store, ".migrate-lock")]).exitCode).toBe(0);
    expect((await failure(store)).message).toContain("lock");
  });

  test("where every user may rename every folder", async () => {
    const store = join(ground.root, "store-of-all");
    mkdirSync(store);
    chmodSync(store, 0o777);
    expect((await failure(store)).message).toContain("every user may rename what is in it");
    chmodSync(store, 0o1777);
    const serving = await startServing({ home: join(ground.root, "other-home"), store, secure: true });
    await serving.stop();
  });
});
