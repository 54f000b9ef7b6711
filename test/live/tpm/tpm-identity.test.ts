/** Hosts whose key their TPM makes and opens: made by `migrate id --tpm`, at work, and lost with the TPM. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { localStatus } from "../../../src/migration/operator/status.ts";
import type { SmallVm } from "../../support/files/small-vm.ts";
import { eachTestHasHosts } from "../../support/moves/hosts-of-tests.ts";
import { expectMoved } from "../../support/moves/ownership.ts";
import type { TwoHosts } from "../../support/moves/two-hosts.ts";
import type { MigrateProcess } from "../../support/system/process.ts";
import { until } from "../../support/system/until.ts";
import { type Chip, startChip, tpm2 } from "../../support/tpm/chip.ts";

let root: string;
let hosts: TwoHosts;
let made: { readonly vm: SmallVm };
let chips: { source: Chip; destination: Chip };
eachTestHasHosts("tpm-identity-", (given) => {
  made = given;
  ({ root, hosts } = given);
});
afterEach(() => {
  chips = undefined as never;
});

async function startChips(): Promise<void> {
  const start = async (name: string) => {
    mkdirSync(join(root, name));
    return await startChip(join(root, name));
  };
  chips = { source: await start("a"), destination: await start("b") };
}

const at = (chip: Chip) => ({ env: { MIGRATE_TPM: chip.place } });
const identityOf = (home: string) => readFileSync(join(home, "identity.pem"), "utf8");

async function done(process: MigrateProcess): Promise<Record<string, unknown>> {
  expect({ ...(await process.exit), stderr: process.stderr() }).toMatchObject({ code: 0, stderr: "" });
  return process.events.at(-1)!;
}

async function failed(process: MigrateProcess, code = 6): Promise<Record<string, unknown>> {
  expect((await process.exit).code).toBe(code);
  return process.events.at(-1)!;
}

describe("two hosts whose TPMs keep their keys", () => {
  test("pair and move a VM, and no open key lies in their homes", async () => {
    await startChips();
    const id = await done(hosts.source(["id", "--tpm"], at(chips.source)));
    expect(id).toMatchObject({ event: "id", keeper: "tpm", sealed: false });
    await done(hosts.destination(["id", "--tpm", "--pcrs", "7"], at(chips.destination)));
    for (const home of [hosts.sourceHome, hosts.destinationHome]) {
      expect(identityOf(home)).toContain("BEGIN MIGRATE TPM KEY");
      expect(identityOf(home)).not.toContain("PRIVATE KEY-----");
    }
    const serve = await hosts.serve(at(chips.destination));
    expect((await hosts.send(made.vm.folder, [], at(chips.source)).exit).code).toBe(0);
    expectMoved(made.vm, hosts, "with keys of two TPMs");
    await serve.kill("SIGTERM");
    // Neither the TPM of the other host opens the key, nor none.
    const { source, destination } = chips;
    const other = await failed(hosts.source(["status", hosts.proxy.addressText], at(destination)));
    expect(other).toMatchObject({ code: "tpm-unusable" });
    expect(other.message).toBe("This host's TPM does not know the key of this host's identity.");
    const none = hosts.source(["status", hosts.proxy.addressText], { env: { MIGRATE_TPM: "none" } });
    expect((await failed(none)).message).toBe("This host has no TPM.");
    // What needs no key needs no TPM.
    await done(hosts.source(["id"], { env: { MIGRATE_TPM: "none" } }));
    await source.stop();
  }, 60_000);

  test("do not start once a register that the key is bound to has changed, and say which", async () => {
    await startChips();
    await done(hosts.destination(["id", "--tpm", "--pcrs", "0,7"], at(chips.destination)));
    await tpm2(chips.destination, root, "pcrextend", `7:sha256=${"ee".repeat(32)}`);
    const serve = hosts.startServe(at(chips.destination));
    const refused = await failed(serve);
    expect(refused.code).toBe("tpm-unusable");
    expect(refused.message).toContain("register 7 has another value than when the key was made");
    expect(refused.hint).toContain("Boot as before; or make a new identity with migrate id --tpm");
    await chips.destination.reboot();
    const again = await hosts.serve(at(chips.destination));
    await again.kill("SIGTERM");
  }, 60_000);
});

describe("migrate id --tpm", () => {
  test("asks before it replaces an identity, which is another host then", async () => {
    await startChips();
    const before = await done(hosts.source(["id"]));
    const asked = await failed(hosts.source(["id", "--tpm"], at(chips.source)), 2);
    expect(asked.message).toContain("This has to be confirmed");
    expect(await done(hosts.source(["id"]))).toEqual(before);
    const after = await done(hosts.source(["id", "--tpm", "--yes"], at(chips.source)));
    expect(after.fingerprint).not.toBe(before.fingerprint);
    expect(await done(hosts.source(["id"]))).toEqual(after);
  }, 60_000);

  test("leaves the identity as it is where the TPM does not make a key", async () => {
    await startChips();
    const before = await done(hosts.source(["id"]));
    const text = identityOf(hosts.sourceHome);
    await tpm2(chips.source, root, "changeauth", "-c", "owner", "secret");
    const refused = await failed(hosts.source(["id", "--tpm", "--yes"], at(chips.source)));
    expect(refused.message).toBe("This host's TPM asks for a password that migrate does not know.");
    expect(identityOf(hosts.sourceHome)).toBe(text);
    expect(await done(hosts.source(["id"]))).toEqual(before);
  }, 60_000);

  test("refuses one that is sealed, or that a session hangs on, unless it is told to replace it", async () => {
    await startChips();
    const secret = join(root, "secret");
    writeFileSync(secret, "a passphrase\n", { mode: 0o600 });
    await done(hosts.source(["id", "--seal", "--passphrase-file", secret]));
    const sealed = await failed(hosts.source(["id", "--tpm", "--yes"], at(chips.source)));
    expect(sealed).toMatchObject({ code: "policy" });
    expect(sealed.message).toContain("is sealed with a passphrase, and would be lost");
    await done(hosts.source(["id", "--tpm", "--yes", "--replace"], at(chips.source)));

    // A move that its destination has begun to take and that nobody ends.
    const serve = await hosts.serve();
    const send = hosts.send(made.vm.folder, ["--bandwidth", "16K", "--compress", "off"], at(chips.source));
    const homes = [hosts.sourceHome, hosts.destinationHome];
    await until(() => homes.every((home) => localStatus(home).length === 1), "the session on both hosts");
    await send.kill("SIGKILL");
    await serve.kill("SIGKILL");
    for (const [words, chip] of [
      ["source", chips.source],
      ["destination", chips.destination],
    ] as const) {
      const open = await failed(hosts[words](["id", "--tpm", "--yes"], at(chip)));
      expect(open.message).toContain(
        "Sessions are under way whose other hosts know this one by its identity: web1",
      );
    }
    await done(hosts.source(["id", "--tpm", "--yes", "--replace"], at(chips.source)));
  }, 60_000);

  test("cannot be sealed on top, and the sentence says who keeps the key", async () => {
    await startChips();
    await done(hosts.source(["id", "--tpm"], at(chips.source)));
    const secret = join(root, "secret");
    writeFileSync(secret, "a passphrase\n", { mode: 0o600 });
    const refused = await failed(hosts.source(["id", "--seal", "--passphrase-file", secret]));
    expect(refused.message).toContain("is kept by its TPM: a passphrase has nothing to seal");
    expect((await failed(hosts.source(["id", "--tpm", "--seal"]), 2)).message).toContain(
      "exclude each other",
    );
    expect((await failed(hosts.source(["id", "--pcrs", "7"]), 2)).message).toContain("are for --tpm");
    expect((await failed(hosts.source(["id", "--tpm", "--pcrs", "24"]), 2)).message).toContain(
      "registers from 0 to 23",
    );
  }, 60_000);

  test("makes a new identity where the TPM does not know the old one's key any more", async () => {
    await startChips();
    await done(hosts.source(["id", "--tpm"], at(chips.source)));
    await tpm2(chips.source, root, "clear", "-c", "platform");
    const checks = hosts.source(["doctor"], at(chips.source));
    await checks.exit;
    const check = checks.events.find((event) => event.check === "tpm");
    expect(check).toMatchObject({ state: "problem" });
    expect(check!.message).toBe("This host's TPM does not know the key of this host's identity.");
    await done(hosts.source(["id", "--tpm", "--yes"], at(chips.source)));
  }, 60_000);
});

describe("migrate doctor", () => {
  const tpmCheck = async (env: Record<string, string>) => {
    const doctor = hosts.source(["doctor"], { env });
    await doctor.exit;
    return doctor.events.find((event) => event.check === "tpm")!;
  };

  test("says who made the TPM, what it can, and that the host can attest", async () => {
    mkdirSync(join(root, "c"));
    const chip = await startChip(join(root, "c"), { certified: true });
    const check = await tpmCheck({ MIGRATE_TPM: chip.place });
    expect(check.state).toBe("ok");
    expect(check.message).toMatch(
      /^A TPM 2\.0 \(IBM [\d.]+\) answers, has a certificate of CN=swtpm-localca and sha256/,
    );
    // Looking makes nothing.
    expect(await Bun.file(join(hosts.sourceHome, "tpm/ak")).exists()).toBe(false);
  }, 60_000);

  test("says of passwords in the TPM what they stop", async () => {
    await startChips();
    const { source, destination } = chips;
    await tpm2(source, root, "changeauth", "-c", "owner", "secret");
    const owner = await tpmCheck({ MIGRATE_TPM: source.place });
    expect(owner.state).toBe("warning");
    expect(owner.message).toContain("this host can attest; its owner hierarchy has a password");
    await tpm2(destination, root, "changeauth", "-c", "endorsement", "secret");
    const endorsement = await tpmCheck({ MIGRATE_TPM: destination.place });
    expect(endorsement).toMatchObject({
      state: "warning",
      message: "This host's TPM asks for a password that migrate does not know.",
    });
  }, 60_000);

  test("finds nothing wrong with a host that has none, and warns of one that cannot be used", async () => {
    expect(await tpmCheck({ MIGRATE_TPM: "none" })).toMatchObject({ state: "ok" });
    expect(await tpmCheck({ MIGRATE_TPM: `swtpm:${join(root, "nothing")}` })).toMatchObject({
      state: "warning",
      message: `There is no TPM at ${join(root, "nothing")}: no program listens there.`,
    });
  }, 60_000);
});
