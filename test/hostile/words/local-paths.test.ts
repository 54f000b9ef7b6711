/** What goes wrong on one host is told to the other without a path of the first. */
import { expect, test } from "bun:test";
import { appendFileSync, chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import { accept, letIn } from "../../support/hostile/hostile-destination.ts";
import { type HostileGround, makeIdentity } from "../../support/hostile/hostile-ground.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";
import { TrickedSource } from "../../support/hostile/tricked-source.ts";

let ground: HostileGround;

testsAttackDestination({}, (made) => {
  ground = made;
});
// Looks through everything that was said for a path.

test("a trust file that cannot be read is the destination's own affair, and trusts nobody", async () => {
  const source = await ground.trustedSource();
  const trust = join(ground.home, "trust");
  const before = readFileSync(trust);
  try {
    appendFileSync(trust, "this is no line of a trust file\n");
    for (const identity of [source, await makeIdentity()]) {
      const peer = await ground.connect({ identity });
      expect(await peer.hello().error()).toEqual({
        code: "not-trusted",
        message: "the destination cannot tell whom it trusts",
      });
    }
    chmodSync(trust, 0o666);
    const peer = await ground.connect({ identity: source });
    expect((await peer.hello().error()).code).toBe("not-trusted");
  } finally {
    chmodSync(trust, 0o600);
    writeFileSync(trust, before);
  }
  // Its own people hear which file it is, and what is wrong with it.
  await ground.hasTold(`${trust}, line `);
  await ground.expectServing();
});

test("a store that is gone is told of without its place", async () => {
  const source = await ground.trustedSource();
  const begun = await ground.joined(source);
  const vm = new RawVm("web1");
  await begun.offer(vm.offer());
  const away = `${ground.store}.away`;
  renameSync(ground.store, away);
  try {
    expect((await begun.send("seal", vm.seal()).error()).code).toMatch(/store-failed|integrity/);
    const fresh = await ground.joined(source);
    const { code } = await fresh.sendJson("offer", new RawVm("web2").offer()).error();
    expect(["store-failed", "bug", "no-room"]).toContain(code);
  } finally {
    renameSync(away, ground.store);
  }
  await ground.expectServing();
});

test("a source's trouble with its own files is told of without their place", async () => {
  const tricked = await TrickedSource.make();
  const said = Promise.withResolvers<string>();
  try {
    const { error, record } = await tricked.sendTo(
      async (visit) => {
        await letIn(visit);
        // While the source waits for ACCEPT, somebody takes its VM away.
        const folder = join(tricked.root, "source-1", "vm1");
        rmSync(join(folder, "vm1.ram"));
        writeFileSync(join(folder, "vm1.ram"), "something else");
        accept(visit.peer);
        const { payload } = await visit.peer.next();
        said.resolve(payload.toString());
      },
      { filesMayChange: true },
    );
    expect(error.code).toBe("source-changed");
    expect(record?.state).toBe("sending");
    expect(await said.promise).toBe(
      '{"code":"source-changed","message":"a file of the VM has changed while it was sent"}',
    );
  } finally {
    await tricked.close();
  }
});
