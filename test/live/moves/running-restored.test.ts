/** A running VM has arrived, and the destination's journal is older than that: its QEMU is not ended, its files stay. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FrozenGuest } from "../../support/guests/frozen-guest.ts";
import { DisturbedMove } from "../../support/moves/disturbed-move.ts";

let frozen: FrozenGuest;
// The first run of all builds the guest.
beforeAll(async () => {
  frozen = await FrozenGuest.make();
}, 300_000);
afterAll(() => frozen.remove());

/** Copies the journal as a backup program would, and returns what puts it back. */
function backUp(home: string): () => void {
  const copy = join(home, "..", "backup");
  mkdirSync(copy);
  const database = new Database(join(home, "journal.sqlite"));
  database.run("PRAGMA busy_timeout = 10000");
  database.run(`VACUUM INTO '${join(copy, "journal.sqlite")}'`);
  database.close();
  return () => {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(join(home, `journal.sqlite${suffix}`), { force: true });
    renameSync(join(copy, "journal.sqlite"), join(home, "journal.sqlite"));
  };
}

// [OWN-9]
test.each([
  ["receiving", "SEAL"],
  ["ready", "RELEASE"],
] as const)(
  "serve that starts with a journal in which the VM is %s lets it run on, and a person settles it",
  async (_state, moment) => {
    await DisturbedMove.with(frozen, async (move) => {
      const { destinationHome, store } = move.hosts.hosts;
      let restore = () => {};
      await move.at(moment, () => {
        restore = backUp(destinationHome);
      });
      expect(await move.failure()).toEqual({ code: 0, error: undefined });
      move.serve.signal("SIGTERM");
      await move.serve.exit;
      restore();
      await move.startServe();
      const warning = expect.stringContaining("is older than that");
      expect(move.serve.events).toContainEqual(
        expect.objectContaining({ event: "warning", message: warning }),
      );
      await move.state.ticksThere();
      expect(existsSync(join(store, "web1", "vm.json"))).toBe(true);
      for (const flags of [["--cancel"], ["--owner", "source"]]) {
        expect(await move.failure(move.resolveThere(flags))).toMatchObject({ code: 7 });
      }
      await move.state.ticksThere();
      const settled = move.resolveThere(["--owner", "destination"]);
      expect(await move.failure(settled)).toEqual({ code: 0, error: undefined });
      expect(settled.events.at(-1)).toMatchObject({ state: "owner", owner: "destination" });
      await move.state.ticksThere();
    });
  },
  60_000,
);
