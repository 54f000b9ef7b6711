/** What becomes of the TPM's state of a domain that has left as it ran: what libvirt took away, and what it left. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SessionRecord } from "../../../../src/migration/journal/journal.ts";
import {
  clearTpmPlace,
  keepTpm,
  tpmAtSource,
} from "../../../../src/migration/providers/libvirt/domain-at-source.ts";
import type { SourceLibvirtRecord } from "../../../../src/migration/providers/libvirt/libvirt-records.ts";
import { retireTpmState } from "../../../../src/migration/providers/tpm-at-source.ts";
import { fileIdentity } from "../../../../src/vm/folder/file-identity.ts";
import { newStateSeal, openState, sealState } from "../../../../src/vm/tpm/sealed-state.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "retired-tpm-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const session = "0123456789abcdef0123456789abcdef";
const uuid = "5a6b7c8d-1111-4222-8333-9a0b1c2d3e4f";

/** A domain's state where libvirt has it, with a second name that shows what became of its bytes. */
function withState(after: "rename" | "delete" | "keep", more: object = {}) {
  const tpmStateDir = join(folder, uuid, "tpm2");
  mkdirSync(tpmStateDir, { recursive: true });
  writeFileSync(join(tpmStateDir, "tpm2-00.permall"), "secret seeds");
  const kept = { tpmStateDir, tpmStateIs: fileIdentity(tpmStateDir)!, image: null, isLive: true, ...more };
  const record = {
    session,
    name: "web1",
    side: "source",
    provider: "libvirt",
    mode: "move",
    after,
    files: [],
    kept,
  };
  return {
    tpmStateDir,
    kept: kept as unknown as SourceLibvirtRecord,
    record: record as unknown as SessionRecord,
  };
}

/** Returns the warnings. */
async function retire(record: SessionRecord): Promise<string[]> {
  const warnings: string[] = [];
  await retireTpmState(record, tpmAtSource(record), (sentence) => warnings.push(sentence));
  clearTpmPlace(record);
  return warnings;
}

test.each(["rename", "delete"] as const)(
  "--after %s leaves nothing of it, whether libvirt took its names away or not",
  async (after) => {
    for (const libvirtRemoves of [true, false]) {
      const { tpmStateDir, kept, record } = withState(after);
      keepTpm(kept);
      expect(readdirSync(join(folder, `${uuid}.migrate`))).toEqual(["tpm2-00.permall"]);
      if (libvirtRemoves) rmSync(join(folder, uuid), { recursive: true });
      // That it had two names here meanwhile is nothing to be told: both are gone.
      expect([await retire(record), await retire(record)]).toEqual([[], []]);
      expect(readdirSync(folder)).toEqual([]);
      expect(existsSync(tpmStateDir)).toBe(false);
    }
  },
);

test("a state that can be read under a name that nobody gave is told of, with the way to it", async () => {
  const { tpmStateDir, kept, record } = withState("rename");
  const state = join(tpmStateDir, "tpm2-00.permall");
  linkSync(state, join(folder, "backup"));
  keepTpm(kept);
  const warnings = await retire(record);
  expect(readFileSync(join(folder, "backup"), "utf8")).toBe("secret seeds");
  const { ino } = statSync(join(folder, "backup"));
  expect(warnings).toEqual([
    expect.stringMatching(
      new RegExp(`virtual TPM can still be read here: /.*/tpm2-00.permall .* another name .*-inum ${ino}\\)`),
    ),
  ]);
});

test("what is kept sealed can be opened, and nothing else is left", async () => {
  const tpmSeal = await newStateSeal("a passphrase");
  const { kept, record } = withState("keep", { tpmSeal });
  keepTpm(kept);
  await retire(record);
  expect(readdirSync(folder)).toEqual([`${uuid}.sealed-01234567`]);
  const text = await Bun.file(join(folder, `${uuid}.sealed-01234567`)).text();
  const { vm, files } = await openState(text, "a passphrase");
  expect([vm, ...files.map(({ name, bytes }) => `${name}: ${bytes}`)]).toEqual([
    "web1",
    "tpm2-00.permall: secret seeds",
  ]);
});

test("what somebody put where the sealed state is to lie is not taken for it, and nothing is destroyed", async () => {
  const tpmSeal = await newStateSeal("a passphrase");
  const strangers = { ...tpmSeal, sealedKey: tpmSeal.sealedKey.replace("Salt: ", "Salt: x") };
  const { kept, record } = withState("keep", { tpmSeal });
  keepTpm(kept);
  const sealed = join(folder, `${uuid}.sealed-01234567`);
  const state = join(folder, `${uuid}.migrate`, "tpm2-00.permall");
  const whole = await sealState("web1", [], tpmSeal);
  const theirs = await sealState("web1", [], strangers);
  const others: (() => void)[] = [
    () => writeFileSync(sealed, ""),
    () => writeFileSync(sealed, theirs),
    () => writeFileSync(sealed, whole.slice(0, -8)),
    () => writeFileSync(sealed, tpmSeal.sealedKey),
    () => mkdirSync(sealed),
    () => symlinkSync(state, sealed),
  ];
  for (const put of others) {
    put();
    const failed = await retire(record).catch((thrown: unknown) => thrown);
    expect(failed).toMatchObject({ code: "io", message: expect.stringContaining("in its place") });
    expect(readFileSync(state, "utf8")).toBe("secret seeds");
    rmSync(sealed, { recursive: true });
  }
  // A link where it is written before it has its name is not written through.
  writeFileSync(join(folder, "theirs"), "theirs");
  linkSync(join(folder, "theirs"), `${sealed}.new`);
  await retire(record);
  expect(readFileSync(join(folder, "theirs"), "utf8")).toBe("theirs");
  const { files } = await openState(readFileSync(sealed, "latin1"), "a passphrase");
  expect([files.map(({ bytes }) => String(bytes)), existsSync(state)]).toEqual([["secret seeds"], false]);
}, 30_000);

test("state of a domain that came back under the same UUID is spared", async () => {
  const { tpmStateDir, kept, record } = withState("rename");
  keepTpm(kept);
  linkSync(join(tpmStateDir, "tpm2-00.permall"), join(folder, "keeps-the-inode"));
  rmSync(join(folder, uuid), { recursive: true });
  mkdirSync(tpmStateDir, { recursive: true });
  writeFileSync(join(tpmStateDir, "tpm2-00.permall"), "came back");
  await retire(record);
  expect(await Bun.file(join(tpmStateDir, "tpm2-00.permall")).text()).toBe("came back");
});
