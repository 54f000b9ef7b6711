/**
 * A migration that was cut goes on from what is on the destination's disk, whatever has become of it
 * meanwhile, and not from what anybody remembers: exactly the chunks that differ are sent.
 */
import { describe, expect, test } from "bun:test";
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { punchHole } from "../../src/platform/files/holes.ts";
import type { FrameName } from "../../src/protocol/frames.ts";
import { chunkLength } from "../../src/protocol/limits.ts";
import { hashOf, overwrite, randomStream, type SmallVm } from "../support/files/small-vm.ts";
import type { CuttingProxy } from "../support/moves/cutting-proxy.ts";
import { eachTestHasLink } from "../support/moves/hosts-of-tests.ts";
import { expectMoved, expectOneOwner, sessionsIn } from "../support/moves/ownership.ts";
import { type Sent, sendOnce } from "../support/moves/sending.ts";
import { type Serving, startServing } from "../support/moves/serving.ts";
import { until } from "../support/system/until.ts";

const mebibyte = 1024 ** 2;
let vm: SmallVm;
let serving: Serving;
let proxy: CuttingProxy;
let hosts: { sourceHome: string; destinationHome: string; store: string };

const serveHere = () => startServing({ home: hosts.destinationHome, store: hosts.store });
const sendHere = (retryForMs = 5_000): Promise<Sent> =>
  sendOnce({ home: hosts.sourceHome, vm: vm.spec, address: proxy.address, retryForMs });

eachTestHasLink("migrate-resume-", (made) => {
  ({ vm, hosts, serving, proxy } = made);
});

/** Sends up to a frame and no further: by default everything but the seal. */
async function sendUpTo(frame: FrameName = "seal"): Promise<void> {
  proxy.breakBefore = (_direction, name) => name === frame;
  const { error } = await sendHere(0);
  expect(error?.code).toBe("network");
  expect(proxy.cutMade).toBe(true);
  proxy.breakBefore = undefined;
  expectOneOwner(vm, hosts, `cut before ${frame}`);
}

/** True once the destination has put down all that had arrived, as it does when a link ends. */
function lossNoticed(): boolean {
  const bytes = vm.files.reduce(
    (sum, file) => sum + file.dataChunks.reduce((of, chunk) => of + chunkLength(file.bytes, chunk), 0),
    0,
  );
  return sessionsIn(hosts.destinationHome, "destination").at(-1)?.doneBytes === bytes;
}

/** Path of a staged file by its number in the VM. */
function staged(file: number): string {
  const { session } = sessionsIn(hosts.sourceHome, "source").at(-1)!;
  return join(hosts.store, `.migrate-${session}`, vm.files[file]!.base);
}

function write(path: string, at: number, bytes: Buffer): void {
  const fd = openSync(path, "r+");
  try {
    writeSync(fd, bytes, 0, bytes.length, at);
  } finally {
    closeSync(fd);
  }
}

const garbage = (bytes: number): Buffer => randomStream(99)(bytes);
const ram = 0;
const disk = 1;

interface Damage {
  what: string;
  /** Done to the staged files while nobody is connected. */
  make: () => void;
  /** Chunks that must be sent, no more and no fewer. */
  chunks: () => number;
}

const damages: Damage[] = [
  { what: "as they were left", make: () => {}, chunks: () => 0 },
  {
    what: "gone with their folder",
    make: () => rmSync(join(staged(ram), ".."), { recursive: true }),
    chunks: () => vm.dataChunks,
  },
  {
    what: "gone, one of them",
    make: () => rmSync(staged(disk)),
    chunks: () => vm.files[disk]!.dataChunks.length,
  },
  {
    what: "damaged in one byte of two chunks",
    make: () => {
      write(staged(ram), mebibyte + 1, garbage(1));
      write(staged(disk), 4 * mebibyte + 77, garbage(1));
    },
    chunks: () => 2,
  },
  {
    what: "damaged in the last byte, which is no whole page",
    make: () => write(staged(disk), vm.files[disk]!.bytes - 1, garbage(1)),
    chunks: () => 1,
  },
  {
    what: "truncated inside their second chunk",
    make: () => truncateSync(staged(ram), mebibyte + 100),
    // The second chunk holds data only towards its end, and then the third.
    chunks: () => 2,
  },
  { what: "truncated to nothing", make: () => truncateSync(staged(ram), 0), chunks: () => 3 },
  {
    what: "longer than they should be",
    make: () => appendFileSync(staged(disk), garbage(70_000)),
    chunks: () => 0,
  },
  {
    what: "with a hole where data was",
    make: () => {
      const fd = openSync(staged(disk), "r+");
      punchHole(fd, 4 * mebibyte, mebibyte);
      closeSync(fd);
    },
    chunks: () => 1,
  },
  {
    what: "with garbage in a zero page between data",
    make: () => write(staged(ram), 32 * 1024, garbage(4096)),
    chunks: () => 1,
  },
  {
    what: "with garbage where the source has a hole",
    make: () => write(staged(disk), 6 * mebibyte, garbage(mebibyte)),
    chunks: () => 1,
  },
];

for (const restarted of [false, true]) {
  describe(restarted ? "with serve started again in between" : "with the same serve", () => {
    for (const { what, make, chunks } of damages) {
      test(`staged files ${what}: only what differs is sent`, async () => {
        await sendUpTo();
        const before = proxy.passed("chunk");
        expect(before).toBe(vm.dataChunks);
        const expected = chunks();
        if (restarted) await serving.stop();
        else await until(lossNoticed, "the destination sees that the link is gone");
        make();
        if (restarted) serving = await serveHere();
        const { done, error } = await sendHere();
        expect(error).toBeUndefined();
        expectMoved(vm, hosts, what);
        expect(done!.chunksSent).toBe(expected);
        expect(proxy.passed("chunk") - before).toBe(expected);
        for (const file of vm.files) {
          // What the source has as a hole is one again.
          const arrived = statSync(join(hosts.store, vm.name, file.base));
          const left = statSync(join(`${vm.folder}.migrated`, file.base));
          expect(arrived.blocks).toBeLessThanOrEqual(left.blocks + 8);
        }
      });
    }

    test("a transfer cut in its middle sends again at most what was on its way", async () => {
      let chunks = 0;
      proxy.breakBefore = (_direction, name) => name === "chunk" && ++chunks === 6;
      expect((await sendHere(0)).error?.code).toBe("network");
      proxy.breakBefore = undefined;
      if (restarted) {
        await serving.stop();
        serving = await serveHere();
      }
      const { done } = await sendHere();
      expectMoved(vm, hosts, "cut in the middle");
      // Five had passed the link; a reset may have thrown away some of them at the destination's door.
      expect(done!.chunksSent).toBeGreaterThanOrEqual(vm.dataChunks - 5);
      expect(done!.chunksSent).toBeLessThanOrEqual(vm.dataChunks);
    });

    for (const frame of ["seal", "ready"] as const) {
      test(`a source that ran on after a cut before ${frame.toUpperCase()} and is sent again: its new bytes win`, async () => {
        await sendUpTo(frame);
        if (restarted) {
          await serving.stop();
          serving = await serveHere();
        }
        const [file] = vm.files;
        vm.files[ram] = overwrite(file!, mebibyte + 4096, garbage(5000));
        expect(vm.files[ram].hash).not.toBe(file!.hash);
        const { done, error } = await sendHere();
        expect(error).toBeUndefined();
        expect(done!.chunksSent).toBe(1);
        expectMoved(vm, hosts, "new bytes");
      });
    }

    test("a source file that has grown makes another session, and nothing is left of the old one", async () => {
      await sendUpTo();
      const old = sessionsIn(hosts.sourceHome, "source").at(-1)!;
      if (restarted) {
        await serving.stop();
        serving = await serveHere();
      }
      vm.files[disk] = overwrite(vm.files[disk]!, vm.files[disk]!.bytes, garbage(100));
      const { done, error } = await sendHere();
      expect(error).toBeUndefined();
      expect(done!.session).not.toBe(old.session);
      expectMoved(vm, hosts, "grown");
      expect(readdirSync(hosts.store).sort()).toEqual([".migrate-lock", vm.name]);
      expect(
        sessionsIn(hosts.sourceHome, "source").find(({ session }) => session === old.session)?.state,
      ).toBe("cancelled");
      expect(
        sessionsIn(hosts.destinationHome, "destination").find(({ session }) => session === old.session)
          ?.state,
      ).toBe("cancelled");
    });
  });
}

test("a source file that was replaced by another of the same size is another VM to the journal: nothing is mixed", async () => {
  await sendUpTo();
  const { path } = vm.files[ram]!;
  copyFileSync(path, `${path}.new`);
  write(`${path}.new`, 0, garbage(2 * mebibyte));
  renameSync(`${path}.new`, path);
  vm.files[ram] = { ...vm.files[ram]!, hash: hashOf(path) };
  const { error } = await sendHere();
  expect(error).toBeUndefined();
  expectMoved(vm, hosts, "replaced");
});
