/** A TPM that answers late, never, in pieces, too much, or goes away: what is said, and within which time. */
import { beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openHostTpm, tpmPlace } from "../../../src/attestation/tpm/host-tpm.ts";
import { rc } from "../../../src/attestation/tpm/response-code.ts";
import { withTpm } from "../../../src/attestation/tpm/tpm.ts";
import { refusalOf, rejectionOf } from "../../support/system/refusals.ts";
import { eachTestInFolder } from "../../support/system/test-folder.ts";
import { countIn } from "../../support/tpm/counter.ts";
import { noHandles, type PlayedTpm, playTpm, refusing } from "../../support/tpm/played-tpm.ts";

let home: string;
let path: string;
let played: PlayedTpm | undefined;
eachTestInFolder("connections-", (folder) => {
  home = join(folder, "home");
  path = join(folder, "s");
  mkdirSync(join(home, "tpm"), { recursive: true, mode: 0o700 });
  // A home that has its key, so that its counter is asked for at once.
  const key = `unique ${"11".repeat(32)}\nname 000b${"22".repeat(32)}\n`;
  writeFileSync(join(home, "tpm/ak"), key, { mode: 0o600 });
  return () => played?.stop();
});
beforeEach(() => {
  played = undefined;
});

const patience = { forOthersMs: 150, commandMs: 150, makingMs: 150 };
const open = (place = `swtpm:${path}`) => openHostTpm({ home, env: { MIGRATE_TPM: place }, patience });

/** A TPM for which the first question is fine, so that the next command is the one that goes wrong. */
function playAfterFirst(answer: Parameters<typeof playTpm>[1]): void {
  played = playTpm(path, (socket, command, before) => {
    if (before === 0) socket.write(noHandles);
    else answer(socket, command, before);
  });
}

describe("a TPM", () => {
  test("that takes the command and never answers is given up at its deadline", async () => {
    played = playTpm(path, () => {});
    const startedAtMs = performance.now();
    const refused = await rejectionOf(open());
    expect(refused.message).toBe("This host's TPM has given no answer within 0.15 s.");
    expect(refused.hint).toContain("Another program may hold it");
    expect(performance.now() - startedAtMs).toBeLessThan(5000);
  });

  test("that answers in pieces is understood", async () => {
    played = playTpm(path, (socket) => {
      for (const byte of noHandles) {
        socket.write(Buffer.of(byte));
        socket.flush();
      }
    });
    await open();
  });

  test("that takes its time at every command is given up once all of it takes too long", async () => {
    const slow = { exchange: () => Bun.sleep(20).then(() => noHandles), close() {} };
    const refused = await rejectionOf(
      withTpm({ connect: async () => slow, patience, isAlone: true }, async (tpm) => {
        // Each answer comes well before its deadline.
        for (;;) await tpm.run("GetCapability");
      }),
    );
    expect(refused.message).toBe("This host's TPM is too slow: it has not done its part within 0.45 s.");
  });

  test("that is come to late has that much less time for the rest", async () => {
    const late = { exchange: () => Promise.reject(new Error("it was asked")), close() {} };
    const connect = () => Bun.sleep(60).then(() => late);
    const options = { connect, patience: { ...patience, wholeMs: 50 }, isAlone: true };
    const refused = await rejectionOf(withTpm(options, (tpm) => tpm.run("GetCapability")));
    expect(refused.message).toBe("This host's TPM is too slow: it has not done its part within 0.05 s.");
  });

  test("that stops in the middle of its answer is given up at its deadline", async () => {
    played = playTpm(path, (socket) => void socket.write(noHandles.subarray(0, 12)));
    expect((await rejectionOf(open())).message).toContain("has given no answer");
  });

  test("that goes away in the middle of a command is said to be gone", async () => {
    playAfterFirst((socket) => socket.terminate());
    const tpm = await open();
    expect((await rejectionOf(countIn(tpm))).message).toBe(
      "This host's TPM has gone away in the middle of a command.",
    );
  });

  test("that is not there is said not to be there", async () => {
    expect((await rejectionOf(open())).message).toBe(`There is no TPM at ${path}: no program listens there.`);
    expect((await rejectionOf(open("device:/dev/null/tpm"))).message).toContain("cannot be opened (ENOTDIR)");
    expect((await rejectionOf(open(`device:${path}`))).message).toBe(`There is no TPM at ${path}.`);
    expect((await rejectionOf(open("none"))).message).toBe("This host has no TPM.");
  });

  test.each([
    ["an answer that says it has four gigabytes", "8001ffffffff00000000"],
    ["an answer that says it is shorter than its head", "80010000000900000000"],
    ["an answer that more follows", `${noHandles.toString("hex")}00`],
    ["an answer with an unknown tag", "12340000000a00000000"],
    ["an answer that breaks off inside", "80010000000b0000000000"],
  ])("%s is no answer of a TPM 2.0", async (_, hex) => {
    played = playTpm(path, (socket) => void socket.write(Buffer.from(hex, "hex")));
    expect((await rejectionOf(open())).message).toContain("is no answer of a TPM 2.0");
  });

  test("that says to come again is asked again, and no longer than its deadline", async () => {
    played = playTpm(path, (socket, _, before) => {
      socket.write(before < 3 ? refusing([rc.retry, rc.yielded, rc.testing][before]!) : noHandles);
    });
    await open();
    expect(played.commands.length).toBe(4);
    played.stop();
    played = playTpm(path, (socket) => void socket.write(refusing(rc.retry)));
    expect((await rejectionOf(open())).message).toBe("This host's TPM is busy, and stays so.");
  });

  test.each([
    [rc.badTag, "is a TPM 1.2"],
    [rc.failure, "is in failure mode"],
    [rc.initialize, "has not been started"],
    [rc.lockout, "is locked out after wrong passwords"],
    [0x185, "A hierarchy of this host's TPM is disabled"],
    [0x9a2, "asks for a password that migrate does not know"],
    [0x98e, "asks for a password that migrate does not know"],
    [0xb_0143, "does not know a command that is needed"],
    [rc.locality, "takes no command from here"],
    [0x1c4, "refuses TPM2_GetCapability (response code 0x84)"],
  ])("that answers with the code %i is put into words, with a way out", async (code, words) => {
    played = playTpm(path, (socket) => void socket.write(refusing(code)));
    const refused = await rejectionOf(open());
    expect(refused.code).toBe("tpm-unusable");
    expect(refused.message).toContain(words);
    expect(refused.hint).not.toBe("");
  });
});

describe("a TPM that is full", () => {
  const commandCodes = () => played!.commands.map((command) => command.readUInt32BE(6));

  test("is swept once of what the dead have left, where nobody else is in it", async () => {
    const left = Buffer.from("80010000001700000000" + "00" + "00000001" + "00000001" + "80000001", "hex");
    let full = 0;
    played = playTpm(path, (socket, command) => {
      const isFlush = command.readUInt32BE(6) === 0x165;
      if (isFlush) expect(command.readUInt32BE(10)).toBe(0x8000_0001);
      const isTransients = command.length === 22 && command.readUInt32BE(14) === 0x8000_0000;
      if (isTransients) socket.write(left);
      else if (isFlush) socket.write(refusing(0));
      else if (command.readUInt32BE(6) === 0x169 && full++ === 0) socket.write(refusing(rc.objectMemory));
      else socket.write(command.readUInt32BE(6) === 0x169 ? refusing(0x18b) : noHandles);
    });
    const tpm = await open();
    expect(await countIn(tpm)).toBeNull();
    expect(commandCodes()).toEqual([0x17a, 0x169, 0x17a, 0x165, 0x17a, 0x169]);
  });

  test("and stays so is said to be full, after one sweep", async () => {
    playAfterFirst((socket, command) => {
      socket.write(command.readUInt32BE(6) === 0x17a ? noHandles : refusing(rc.objectMemory));
    });
    const tpm = await open();
    expect((await rejectionOf(countIn(tpm))).message).toContain("has no room for another key");
    expect(commandCodes()).toEqual([0x17a, 0x169, 0x17a, 0x17a, 0x169]);
  });
});

describe("MIGRATE_TPM", () => {
  test("names a device, a socket or none, by an absolute path", () => {
    expect(tpmPlace({ MIGRATE_TPM: "swtpm:/run/s" })).toEqual({ kind: "swtpm", path: "/run/s" });
    expect(tpmPlace({ MIGRATE_TPM: "device:/dev/tpm0" })).toEqual({ kind: "device", path: "/dev/tpm0" });
    expect(tpmPlace({ MIGRATE_TPM: "none" })).toBeNull();
  });

  test.each(["swtpm:", "swtpm:s", "tcp:1", "/dev/tpm0", "device:tpm0"])("as %s names none", (text) => {
    const refused = refusalOf(() => tpmPlace({ MIGRATE_TPM: text }), "tpm-unusable");
    expect(refused.message).toBe(`MIGRATE_TPM is ${text}, which names no TPM.`);
  });
});
