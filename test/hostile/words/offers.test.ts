/** Offers that a trusted source makes up: names that would be paths, sizes that no disk has. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testsAttackDestination } from "../../support/hostile/grounds-of-tests.ts";
import type { HostileGround } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { RawVm } from "../../support/hostile/raw/vm.ts";

let ground: HostileGround;
let source: RawIdentity;

testsAttackDestination({ maxSessions: 8 }, async (made) => {
  ground = made;
  source = await ground.trustedSource();
});

/** Makes the offer, sees it refused with this code, and that it left nothing behind. */
async function expectRefused(
  offer: Record<string, unknown>,
  code: string,
  message: string | RegExp,
): Promise<void> {
  await ground.withstands(async () => {
    const peer = await ground.joined(source);
    const error = await peer.sendJson("offer", offer).error();
    expect(error.code).toBe(code);
    if (typeof message === "string") expect(error.message).toContain(message);
    else expect(error.message).toMatch(message);
    expect(error.message.length).toBeLessThan(300);
    await peer.ended();
    expect(ground.sessions().find(({ session }) => session === peer.session)).toBeUndefined();
  });
}

const vm = new RawVm("web1");

const badNames: [string, string][] = [
  ["..", ".."],
  [".", "."],
  ["a path out of the store", "../outside/canary"],
  ["a path into the store", "web2/disk"],
  ["an absolute path", "/etc/passwd"],
  ["a NUL in it", "web1\0.ram"],
  ["10,000 characters", "x".repeat(10_000)],
  ["129 bytes in fewer characters", "ü".repeat(65) + "x".repeat(127)],
  ["nothing in it", ""],
  ["a staging folder's name", ".migrate-00000000000000000000000000000000"],
  ["the lock's name", ".migrate-lock"],
  ["an option's look", "-rf"],
  ["a line end", "web1\nweb2"],
  ["an escape sequence", "\u001b[2J\u001b]0;owned\u0007"],
  ["a C1 escape sequence", "\u009b31m"],
  ["text turned around", "web1\u202egpj.exe"],
  ["half a character", "web\ud800"],
  ["two spellings in Unicode", "e\u0301"],
  ["white space at its end", "web1 "],
];

describe("a VM is not taken whose name has", () => {
  test.each(badNames)("%s", (_what, name) =>
    expectRefused(vm.offer({ name }), "name-invalid", "offer.name: "),
  );

  test("the suffix of what was moved away", () =>
    expectRefused(vm.offer({ name: "web1.migrated" }), "name-invalid", "must not end with"));

  test.each([
    ["a number", 7],
    ["a list", ["web1"]],
    ["null", null],
    ["an object", { toString: "web1" }],
  ])("%s in its place", (_what, name) => expectRefused(vm.offer({ name }), "name-invalid", "offer.name: "));
});

describe("a file is not taken whose name has", () => {
  const ofFiles = badNames.filter(([what]) => !what.startsWith("129"));
  test.each(ofFiles)("%s", (_what, name) =>
    expectRefused(vm.offer({}, { name }), "name-invalid", "offer.files.0.name: "),
  );

  test.each(["ram", "disk", "tpm"])("the manifest's (as %s)", (kind) =>
    expectRefused(vm.offer({}, { kind, name: "vm.json" }), "name-invalid", 'must not be called "vm.json"'),
  );
});

describe("files of a VM are not taken that are", () => {
  const content = Buffer.from("x");
  const offerOf = (...files: ["ram" | "disk" | "tpm", string][]) =>
    new RawVm(
      "web1",
      files.map(([kind, name]) => ({ kind, name, content })),
    ).offer();
  test("two of one name", () =>
    expectRefused(
      offerOf(["ram", "a"], ["disk", "a"]),
      "name-invalid",
      "two files of the VM have the same name",
    ));

  test("a file where the TPM's folder has to be", () =>
    expectRefused(
      offerOf(["disk", "tpm"], ["tpm", "tpm2-00.permall"]),
      "name-invalid",
      "two files of the VM have the same name",
    ));

  test("a TPM's with a path of its own", () =>
    expectRefused(
      vm.offer({}, { kind: "tpm", name: "tpm/../../x" }),
      "name-invalid",
      'must not contain "/"',
    ));

  test("of a kind that is none", () =>
    expectRefused(vm.offer({}, { kind: "socket" }), "protocol", "offer.files.0.kind"));

  test("none", () => expectRefused(vm.offer({ files: [] }), "protocol", "offer.files: "));

  test("65", () => {
    const [file] = vm.offer().files as object[];
    const files = Array.from({ length: 65 }, (_, i) => ({ ...file, name: `f${i}` }));
    return expectRefused(vm.offer({ files }), "protocol", /^offer\.files: .*64.*65/);
  });

  test("10,000: more than a message holds", () => {
    const [file] = vm.offer().files as object[];
    const files = Array.from({ length: 10_000 }, (_, i) => ({ ...file, name: `f${i}` }));
    return expectRefused(vm.offer({ files }), "protocol", /^a offer frame of \d+ bytes exceeds the limit/);
  });
});

describe("a VM is not taken that claims", () => {
  const sizes: [string, unknown, string][] = [
    ["2^63 bytes", 2 ** 63, "limit"],
    ["2^64 bytes", 2 ** 64, "limit"],
    ["1e308 bytes", 1e308, "limit"],
    ["one byte more than 8 TiB", 8 * 1024 ** 4 + 1, "limit"],
    ["less than nothing", -1, "protocol"],
    ["half a byte", 0.5, "protocol"],
    ["its size in words", "4096", "protocol"],
    ["no size", null, "protocol"],
  ];
  test.each(sizes)("%s", (_what, bytes, code) =>
    expectRefused(vm.offer({}, { bytes }), code, "offer.files.0.bytes: "),
  );
  test.each(sizes.slice(0, 3))("%s on the source's disk", (_what, allocatedBytes, code) =>
    expectRefused(vm.offer({}, { allocatedBytes }), code, "offer.files.0.allocatedBytes: "),
  );

  test("8 TiB twice", () => {
    const [file] = vm.offer({}, { bytes: 8 * 1024 ** 4, allocatedBytes: 0 }).files as object[];
    return expectRefused(
      vm.offer({ files: [file, { ...file, name: "b" }] }),
      "limit",
      "the VM claims 17592186044416 bytes; the limit is 8796093022208",
    );
  });

  test("more room than the store has", () =>
    expectRefused(
      vm.offer({}, { bytes: 8 * 1024 ** 4, allocatedBytes: 8 * 1024 ** 4 }),
      "no-room",
      /^the VM needs 8796093022208 bytes, the destination's store has \d+ free$/,
    ));
});

describe("an offer is not taken", () => {
  test.each([
    ["with chunks of another size", { chunkBytes: 2 ** 40 }, "offer.chunkBytes: "],
    ["without a tag key", { tagKey: "" }, "offer.tagKey: "],
    ["with a mode that is none", { mode: "steal" }, "offer.mode: "],
    ["with a VM id that is a path", { vm: "../".repeat(12) }, "offer.vm: "],
    ["with a list in place of the files' list", { files: { length: 1 } }, "offer.files: "],
  ])("%s", (_what, change, message) => expectRefused(vm.offer(change), "protocol", message));

  // [HELLO-2]
  test("of a session that HELLO did not name", async () => {
    await ground.withstands(async () => {
      const peer = await ground.connect({ identity: source });
      await peer.join();
      expect(await peer.sendJson("offer", vm.offer()).error()).toEqual({
        code: "protocol",
        message: "the connection named no session in its HELLO",
      });
    });
  });

  test.each(["__proto__", "constructor", "toString"])(
    "under a name that JavaScript knows (%s) otherwise than under any other",
    async (name) => {
      await ground.withstands(async () => {
        const peer = await ground.joined(source);
        const offer = JSON.stringify(vm.offer({ name }, { name })).replace(
          "{",
          '{"__proto__":{"mode":"move"},',
        );
        peer.sendFrame("offer", Buffer.from(offer));
        expect((await peer.expect("accept")).state).toBe("receiving");
        await peer.send("cancel", {}).expect("cancelled");
      });
    },
  );
});

describe("a name that is taken", () => {
  test.each([
    ["a folder", (path: string) => mkdirSync(path)],
    ["a file", (path: string) => writeFileSync(path, "")],
    ["a link to a folder outside", (path: string) => symlinkSync(join(ground.root, "outside"), path)],
    ["a link that leads nowhere", (path: string) => symlinkSync("nowhere", path)],
  ])("by %s is refused before a byte is sent", async (what, make) => {
    const name = what.replaceAll(" ", "-");
    make(join(ground.store, name));
    await expectRefused(vm.offer({ name }), "name-taken", `there is a VM named ${name}`);
  });

  test("by somebody else's session tells nothing of that session", async () => {
    const other = await ground.trustedSource();
    await ground.withstands(async () => {
      const first = await ground.joined(other);
      first.sendJson("offer", vm.offer({ name: "wanted" }));
      await first.expect("accept");
      const second = await ground.joined(source);
      expect(await second.sendJson("offer", vm.offer({ name: "wanted" })).error()).toEqual({
        code: "name-taken",
        message: "the name wanted is reserved at the destination already",
      });
      await first.send("cancel", {}).expect("cancelled");
    });
  });
});

test("one source cannot begin more sessions than its share, and others still find a place", async () => {
  const begin = async (of: RawIdentity, count: number, what: string) => {
    const begun = [];
    for (let i = 0; i < count; i++) {
      const peer = await ground.joined(of);
      peer.sendJson("offer", vm.offer({ name: `${what}${i}` }));
      await peer.expect("accept");
      begun.push(peer);
    }
    return begun;
  };
  await ground.withstands(async () => {
    const begun = await begin(source, 4, "many");
    const more = await ground.joined(source);
    expect(await more.sendJson("offer", vm.offer({ name: "one-too-many" })).error()).toEqual({
      code: "busy",
      message:
        "the destination has 4 sessions of this source already, which is its share while others may come",
    });
    for (const count of [2, 1, 1]) {
      const other = await ground.trustedSource();
      begun.push(...(await begin(other, count, `other${begun.length}-`)));
    }
    const last = await ground.joined(await ground.trustedSource());
    expect(await last.sendJson("offer", vm.offer({ name: "one-too-many" })).error()).toEqual({
      code: "busy",
      message: "the destination has 8 sessions already, which is its limit",
    });
    for (const peer of begun) await peer.send("cancel", {}).expect("cancelled");
  });
});
