/** What other programs do to a TPM and to a home in the middle of ours: at a moment that the test chooses. */
import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseAttest } from "../../../src/attestation/structures/attest.ts";
import { attestationTemplate } from "../../../src/attestation/structures/key-templates.ts";
import { sized, u8, u16, u32 } from "../../../src/attestation/structures/marshal.ts";
import { digestOfRegisters } from "../../../src/attestation/structures/pcr-selection.ts";
import { encodePublic } from "../../../src/attestation/structures/public-area.ts";
import { verifySignature } from "../../../src/attestation/structures/signature.ts";
import { HostTpm, openHostTpm } from "../../../src/attestation/tpm/host-tpm.ts";
import { connectSocket } from "../../../src/attestation/tpm/socket-connection.ts";
import { usualPatience } from "../../../src/attestation/tpm/tpm.ts";
import { rejectionOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { type Chip, startChip } from "../../support/tpm/chip.ts";

let folder: string;
let chip: Chip;
eachTestInFolder("tpm-races-", async (made) => {
  folder = made;
  chip = await startChip(folder);
});

function homeOf(name: string): string {
  const home = join(folder, name);
  mkdirSync(home, { mode: 0o700 });
  return home;
}

const commands = { createPrimary: 0x131, duplicate: 0x14b, quote: 0x158 };
type Meddle = (ask: (command: Buffer) => Promise<Buffer>) => unknown;

/** The chip, with `meddle` done before each command of that code. */
function meddledWith(home: string, code: number, meddle: Meddle): HostTpm {
  const connect = async (patienceMs: number) => {
    const connection = await connectSocket(chip.socket, patienceMs);
    return {
      async exchange(command: Buffer, timeoutMs: number) {
        if (command.readUInt32BE(6) === code) await meddle((other) => connection.exchange(other, timeoutMs));
        return await connection.exchange(command, timeoutMs);
      },
      close: () => connection.close(),
    };
  };
  return new HostTpm(home, { connect, patience: usualPatience, isAlone: true });
}

/** TPM2_PCR_Extend of register 8 (TPM 2.0 Library Part 3, 22.2). */
function extend(): Buffer {
  const password = Buffer.concat([u32(0x4000_0009), sized(), u8(0), sized()]);
  const values = Buffer.concat([u32(1), u16(0x0b), Buffer.alloc(32, 7)]);
  const body = Buffer.concat([u32(8), u32(password.length), password, values]);
  return Buffer.concat([u16(0x8002), u32(10 + body.length), u32(0x182), body]);
}

const selection = { bank: "sha256", registers: [7, 8] } as const;

test("a register that changes between its reading and its quote is read again", async () => {
  let times = 0;
  const tpm = meddledWith(homeOf("home"), commands.quote, async (ask) => {
    if (times++ === 0) expect((await ask(extend())).readUInt32BE(6)).toBe(0);
  });
  const { quoted, registers } = await tpm.quote(selection, Buffer.alloc(32));
  const attest = parseAttest(quoted);
  expect(attest.kind === "quote" && attest.pcrDigest).toEqual(digestOfRegisters(selection, registers)!);
  expect(times).toBe(2);
});

test("a register that changes all the time is given up, and said", async () => {
  const tpm = meddledWith(homeOf("home"), commands.quote, (ask) => ask(extend()));
  expect((await rejectionOf(tpm.quote(selection, Buffer.alloc(32)))).message).toBe(
    "The registers of this host's TPM change all the time.",
  );
});

test("a register that changes while a key that is bound to it is opened is said to have changed", async () => {
  const home = homeOf("home");
  const plain = await openHostTpm({ home, env: { MIGRATE_TPM: chip.place } });
  const block = await plain.makeHostKey(selection);
  const tpm = meddledWith(home, commands.duplicate, (ask) => ask(extend()));
  expect((await rejectionOf(tpm.openHostKey(block))).message).toContain("register 8 has another value");
});

test("a TPM that makes an attestation key of another kind than it was asked for is not believed", async () => {
  const asked = encodePublic(attestationTemplate(Buffer.alloc(0))).subarray(0, 8);
  const connect = async (patienceMs: number) => {
    const connection = await connectSocket(chip.socket, patienceMs);
    return {
      exchange(command: Buffer, timeoutMs: number) {
        const changed = Buffer.from(command);
        // The attributes, in the template: not restricted.
        const at = changed.indexOf(asked);
        if (at >= 0) changed[at + 5]! &= ~1;
        return connection.exchange(changed, timeoutMs);
      },
      close: () => connection.close(),
    };
  };
  const tpm = new HostTpm(homeOf("home"), { connect, patience: usualPatience, isAlone: true });
  expect((await rejectionOf(tpm.keys())).message).toContain("another key than the one asked for");
});

test("of two processes that make the attestation key at once, the first one's is the key of both", async () => {
  const [home, other] = [homeOf("home"), homeOf("other")];
  const first = await (await openHostTpm({ home: other, env: { MIGRATE_TPM: chip.place } })).keys();
  const tpm = meddledWith(home, commands.createPrimary, () => {
    mkdirSync(join(home, "tpm"), { recursive: true, mode: 0o700 });
    copyFileSync(join(other, "tpm/ak"), join(home, "tpm/ak"));
  });
  // A quote makes no other key, and looks for the file before it makes this one.
  const { quoted, signature } = await tpm.quote(selection, Buffer.alloc(32));
  expect(verifySignature(first.akPublic, quoted, signature)).toBe(true);
});
