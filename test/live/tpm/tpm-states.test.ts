/** TPMs in the states in which hosts have them: with passwords, disabled, not started, full, in use, gone, behind a device. */
import { expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { attestationTemplate } from "../../../src/attestation/structures/key-templates.ts";
import { HostTpm, openHostTpm } from "../../../src/attestation/tpm/host-tpm.ts";
import { counterIndexOf } from "../../../src/attestation/tpm/nv.ts";
import { createPrimary } from "../../../src/attestation/tpm/primary-key.ts";
import { connectSocket } from "../../../src/attestation/tpm/socket-connection.ts";
import { handle, Tpm, usualPatience } from "../../../src/attestation/tpm/tpm.ts";
import { runChild, startChild } from "../../support/system/child.ts";
import { rejectionOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { until } from "../../support/system/until.ts";
import { type Chip, startChip, tpm2 } from "../../support/tpm/chip.ts";
import { countIn, raiseIn } from "../../support/tpm/counter.ts";

let folder: string;
let home: string;
let chip: Chip;
eachTestInFolder("tpm-states-", async (made) => {
  folder = made;
  home = join(folder, "home");
  mkdirSync(home, { mode: 0o700 });
  chip = await startChip(folder);
});

const open = (place = chip.place) => openHostTpm({ home, env: { MIGRATE_TPM: place } });
const registers = { bank: "sha256", registers: [0, 7] } as const;
const quote = (tpm: HostTpm) => tpm.quote(registers, Buffer.alloc(32));

test("a password on the endorsement hierarchy is said, and what to do", async () => {
  await tpm2(chip, folder, "changeauth", "-c", "endorsement", "secret");
  const refused = await rejectionOf(quote(await open()));
  expect(refused.message).toBe("This host's TPM asks for a password that migrate does not know.");
  expect(refused.hint).toContain("tpm2_changeauth");
});

test("a password on the owner hierarchy stops a host's own key, and no quote", async () => {
  await tpm2(chip, folder, "changeauth", "-c", "owner", "secret");
  const tpm = await open();
  await quote(tpm);
  expect((await rejectionOf(tpm.makeHostKey(null))).message).toContain("asks for a password");
});

test("a disabled endorsement hierarchy is said", async () => {
  await tpm2(chip, folder, "hierarchycontrol", "-C", "platform", "ehEnable", "clear");
  expect((await rejectionOf(quote(await open()))).message).toBe(
    "A hierarchy of this host's TPM is disabled.",
  );
});

test("a locked out TPM quotes all the same: no key here counts wrong passwords", async () => {
  const lockout = ["--max-tries=1", "--recovery-time=1000", "--lockout-recovery-time=1000"];
  await tpm2(chip, folder, "dictionarylockout", "--setup-parameters", ...lockout);
  await tpm2(
    chip,
    folder,
    "nvdefine",
    "0x1800001",
    "-C",
    "o",
    "-s",
    "8",
    "-a",
    "authread|authwrite",
    "-p",
    "secret",
  );
  const wrong = tpm2(chip, folder, "nvread", "0x1800001", "-C", "0x1800001", "-P", "wrong");
  expect(await wrong.catch(() => "refused")).toBe("refused");
  expect(await tpm2(chip, folder, "getcap", "properties-variable")).toMatch(/inLockout:\s+1/);
  const tpm = await open();
  await quote(tpm);
  await tpm.makeHostKey(null);
  await raiseIn(tpm);
});

test("a bank that the TPM does not have is said", async () => {
  await tpm2(chip, folder, "pcrallocate", "sha1:all+sha256:all+sha384:none");
  await chip.reboot();
  const tpm = await open();
  const refused = await rejectionOf(tpm.quote({ bank: "sha384", registers: [7] }, Buffer.alloc(32)));
  expect(refused.message).toBe("This host's TPM has no registers in a bank of sha384.");
  await quote(tpm);
});

test("an attestation key of another TPM is said to be of another", async () => {
  await quote(await open());
  const other = join(folder, "other");
  mkdirSync(other);
  chip = await startChip(other);
  const refused = await rejectionOf(quote(await open()));
  expect(refused.message).toBe("This host's TPM is not the one that its attestation key was made in.");
  expect(refused.hint).toContain(join(home, "tpm/ak"));
});

test("an attestation key whose file is damaged, open to others or cannot be written is refused with a way out", async () => {
  symlinkSync(join(folder, "not/there"), join(home, "tpm"));
  const inTheWay = await rejectionOf(quote(await open()));
  expect(inTheWay.code).toBe("home-unusable");
  expect(inTheWay.message).toStartWith(`The folder ${join(home, "tpm")} cannot be made (`);
  rmSync(join(home, "tpm"));
  const tpm = await open();
  await quote(tpm);
  const file = join(home, "tpm/ak");
  const text = readFileSync(file, "utf8");
  chmodSync(file, 0o644);
  expect((await rejectionOf(quote(tpm))).message).toContain("can be read by other users");
  chmodSync(file, 0o600);
  for (const damaged of [text.slice(0, -1), text.replace("unique", "uniqe"), "", text + text]) {
    writeFileSync(file, damaged);
    expect((await rejectionOf(quote(tpm))).message).toBe(`${file} is damaged.`);
  }
  writeFileSync(file, text);
  await quote(tpm);
  // Nothing was left in the TPM by what was refused.
  expect(await tpm2(chip, folder, "getcap", "handles-transient")).toBe("");
});

test("a counter's index that another program uses is not touched", async () => {
  const tpm = await open();
  await tpm.keys();
  const [, unique = ""] = /^unique (\w+)$/m.exec(readFileSync(join(home, "tpm/ak"), "utf8")) ?? [];
  const index = `0x${counterIndexOf(Buffer.from(unique, "hex")).toString(16).padStart(8, "0")}`;
  await tpm2(chip, folder, "nvdefine", index, "-C", "o", "-s", "8", "-a", "ownerread|ownerwrite");
  expect((await rejectionOf(countIn(tpm))).message).toContain(`Another program uses the index ${index}`);
  expect((await rejectionOf(raiseIn(tpm))).message).toContain("Another program uses");
});

test("keys that a killed process left in a TPM without resource manager are swept, and no key of ours is left", async () => {
  const options = {
    ...{ connect: (ms: number) => connectSocket(chip.socket, ms), patience: usualPatience, isAlone: false },
  };
  const dying = await connectSocket(chip.socket, 5000);
  const left = new Tpm(dying, options);
  for (let at = 0; at < 3; at++)
    await createPrimary(left, handle.endorsement, attestationTemplate(Buffer.alloc(32, at + 1)));
  dying.close();
  // Not where others may have theirs.
  expect((await rejectionOf(quote(new HostTpm(home, options)))).message).toContain(
    "has no room for another key",
  );
  await quote(await open());
  expect(await tpm2(chip, folder, "getcap", "handles-transient")).toBe("");
  expect(await tpm2(chip, folder, "getcap", "handles-loaded-session")).toBe("");
});

test("processes that use one chip at once wait for each other", async () => {
  const script = `
    import { openHostTpm } from ${JSON.stringify(join(import.meta.dir, "../../../src/attestation/tpm/host-tpm.ts"))};
    const tpm = await openHostTpm({ home: process.argv[1], env: process.env });
    const first = await tpm.keys();
    for (let at = 0; at < 20; at++) await tpm.quote({ bank: "sha256", registers: [7] }, Buffer.alloc(32));
    const last = await tpm.keys();
    if (!first.akName.equals(last.akName)) throw new Error("the key that was first shown is another");
    process.stdout.write(last.akName.toString("hex"));`;
  const env = { ...process.env, MIGRATE_TPM: chip.place };
  const names = await Promise.all(
    Array.from({ length: 6 }, () => runChild([process.execPath, "-e", script, home], { env })),
  );
  // The key was made by one of them, for all.
  expect(new Set(names).size).toBe(1);
  expect(names[0]).toMatch(/^000b[0-9a-f]{64}$/);
}, 30_000);

test("a TPM that dies in the middle of a command is gone, and there again once it is started", async () => {
  const tpm = await open();
  await quote(tpm);
  chip.swtpm.signal("SIGSTOP");
  const quoting = rejectionOf(quote(tpm));
  await until(async () => (await queuedAt(chip.socket)) > 0, "the command to wait");
  await chip.stop();
  expect((await quoting).message).toMatch(/has gone away|There is no TPM/);
  expect((await rejectionOf(quote(tpm))).message).toContain("no program listens there");
  await chip.reboot();
  await quote(tpm);
});

test("a TPM behind a character device answers as one behind a socket", async () => {
  const device = join(folder, "tpm");
  startChild(["socat", `PTY,link=${device},raw,echo=0`, `UNIX-CONNECT:${chip.socket}`]);
  await until(() => existsSync(device), "socat's terminal");
  const tpm = await open(`device:${device}`);
  const { registers: values } = await quote(tpm);
  expect([...values.keys()]).toEqual([0, 7]);
  expect((await tpm.keys()).ekCertificate).toBeNull();
});

test("a character device that never answers is given up, and holds up nothing", async () => {
  const device = join(folder, "deaf");
  startChild(["socat", `PTY,link=${device},raw,echo=0`, `UNIX-LISTEN:${join(folder, "nobody")}`]);
  await until(() => existsSync(device), "socat's terminal");
  const script = `
    import { openHostTpm } from ${JSON.stringify(join(import.meta.dir, "../../../src/attestation/tpm/host-tpm.ts"))};
    const patience = { forOthersMs: 200, commandMs: 200, makingMs: 200 };
    const opening = openHostTpm({ home: process.argv[1], env: process.env, patience });
    const said = await opening.then(() => "answered", (thrown) => thrown.message);
    const terminal = require("node:fs").readFileSync("/proc/self/stat", "utf8").split(") ")[1].split(" ")[4];
    process.stdout.write(said + " " + terminal);
    process.exit(0);`;
  const env = { ...process.env, MIGRATE_TPM: `device:${device}` };
  // The leader of a session, as serve may be: a terminal that it opens is not to become its own, which ends it (tty(4)).
  const said = await runChild(["setsid", "-w", process.execPath, "-e", script, home], { env });
  expect(said).toBe("This host's TPM has given no answer within 0.2 s. 0");
});

/** Connections that nobody has accepted: what ss(8) says of a listening unix socket. */
async function queuedAt(path: string): Promise<number> {
  const lines = (await runChild(["ss", "-xl"])).split("\n");
  const line = lines.find((text) => text.includes(` ${path} `));
  return Number(line?.trim().split(/\s+/)[2] ?? 0);
}
