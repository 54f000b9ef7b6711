/** Who is recorded: keys that are not of one TPM, of none, or of another one than before, are told from those that are. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Binding } from "../../../src/attestation/evidence/binding.ts";
import { readPolicy } from "../../../src/attestation/policy/policy-file.ts";
import { type Asked, isAsked, Prover } from "../../../src/attestation/prover.ts";
import { attestationTemplate } from "../../../src/attestation/structures/key-templates.ts";
import { attribute } from "../../../src/attestation/structures/public-area.ts";
import { openHostTpm } from "../../../src/attestation/tpm/host-tpm.ts";
import { loadIdentity } from "../../../src/channel/identity.ts";
import { parseTicket } from "../../../src/channel/ticket.ts";
import { openHome } from "../../../src/home/home.ts";
import { type Draft, draftOf, record } from "../../../src/migration/operator/attest/record-host.ts";
import { asMigrateError, type MigrateError } from "../../../src/protocol/errors.ts";
import { limits } from "../../../src/protocol/limits.ts";
import {
  decodeMessage,
  isMessageName,
  type Message,
  type MessageBody,
} from "../../../src/protocol/messages.ts";
import { akPublicOf } from "../../support/attestation/made-up-platform.ts";
import { HostileDestination, type Script } from "../../support/hostile/hostile-destination.ts";
import { makeIdentity } from "../../support/hostile/hostile-ground.ts";
import type { RawIdentity } from "../../support/hostile/raw/peer.ts";
import { killChildren } from "../../support/system/child.ts";
import { type Chip, makersPems, startChip } from "../../support/tpm/chip.ts";

/** Two platforms with a certified TPM each, of different makers, and one whose TPM has no certificate. */
interface Platform {
  folder: string;
  chip: Chip;
  home: string;
}

let root: string;
let identity: RawIdentity;
let platforms: { one: Platform; other: Platform; plain: Platform };
const open: HostileDestination[] = [];

beforeAll(async () => {
  root = mkdtempSync("/tmp/enrol-");
  identity = await makeIdentity();
  const platform = async (name: string, certified: boolean): Promise<Platform> => {
    const folder = join(root, name);
    mkdirSync(folder);
    const chip = await startChip(folder, { certified });
    return { folder, chip, home: openHome(join(folder, "home")) };
  };
  const [one, other, plain] = await Promise.all([
    platform("1", true),
    platform("2", true),
    platform("3", false),
  ]);
  platforms = { one, other, plain };
}, 60_000);

afterAll(async () => {
  for (const destination of open) await destination.close();
  await killChildren();
  rmSync(root, { recursive: true, force: true });
});

type Enrolled = MessageBody<"enrolled">;

/** What is other than an honest host would say it. */
interface Lie {
  /** Of the connection that it says it is bound to. */
  binding?: Partial<Binding>;
  enrolled?: (right: Enrolled) => Enrolled | Promise<Enrolled>;
  /** In place of the TPM's answer; "refused" stands for the TPM's refusal. */
  activated?: () => MessageBody<"activated">;
}

/** A destination that shows itself by the TPM of that platform, but for the lie. */
function showing(platform: Platform, verifier: string, lie: Lie = {}): Script {
  return async ({ peer }) => {
    const { fingerprint, certificatePem } = identity;
    const binding: Binding = {
      ...{ role: "destination", exporter: peer.exporter(), prover: fingerprint, verifier },
      ...{ session: "", attempt: 0 },
      ...lie.binding,
    };
    const env = { MIGRATE_TPM: platform.chip.place };
    const prover = new Prover({ home: platform.home, env, binding, certificatePem });
    peer.send("welcome", { version: limits.version, software: "x", trusted: true, attests: true });
    for (;;) {
      const { name, payload } = await peer.next();
      if (name === undefined || !isMessageName(name)) return;
      const message: Message = decodeMessage(name, payload);
      if (!isAsked(message)) return;
      const { name: answer, body } = await answerOf(prover, message, lie);
      peer.send(answer, body as never);
    }
  };
}

async function answerOf(prover: Prover, asked: Asked, { enrolled, activated }: Lie) {
  if (asked.name === "activate" && activated !== undefined)
    return { name: "activated" as const, body: activated() };
  const answer = await prover.answer(asked);
  if (answer.name !== "enrolled" || enrolled === undefined) return answer;
  return { name: "enrolled" as const, body: await enrolled(answer.body) };
}

/** What `migrate attest record` would write of it, in a home of its own or in one that there is. */
async function drafted(
  platform: Platform,
  lie: Lie = {},
  { home = openHome(mkdtempSync(join(root, "h-"))), roots }: { home?: string; roots?: string[] } = {},
): Promise<Draft> {
  const { fingerprint } = await loadIdentity(home);
  const control = showing(platform, fingerprint, lie);
  const destination = await HostileDestination.open({ identity, control });
  open.push(destination);
  const { address, ticket } = destination;
  return await draftOf({
    ...{ home, address, name: "hostb", passphrase: () => Promise.reject(new Error("none")) },
    ...(roots === undefined ? {} : { roots }),
    ticket: parseTicket(ticket!),
  });
}

/** As `drafted`, where it must be refused, and nothing be written. */
async function refusal(...[platform, lie, options]: Parameters<typeof drafted>): Promise<MigrateError> {
  const home = options?.home ?? openHome(mkdtempSync(join(root, "h-")));
  const before = readPolicy(home, identity.fingerprint)?.text;
  const error = await drafted(platform, lie, { ...options, home }).then(() => undefined, asMigrateError);
  expect(error).toBeDefined();
  expect(readPolicy(home, identity.fingerprint)?.text).toBe(before);
  return error!;
}

const pems = ({ folder }: Platform) => makersPems(folder).map((path) => readFileSync(path, "utf8"));
const otherKeys = async ({ chip, home }: Platform) => {
  const tpm = await openHostTpm({ home, env: { MIGRATE_TPM: chip.place } });
  const { ekPublic, akPublic, ekCertificate } = await tpm.keys();
  tpm.close();
  return {
    ekPublic: ekPublic.toString("base64"),
    akPublic: akPublic.toString("base64"),
    ...(ekCertificate === null ? {} : { ekCertificate: ekCertificate.toString("base64") }),
  };
};
const guess = () => ({ proof: randomBytes(32).toString("hex") });
const notOfThatTpm = "the attestation key that was shown is not in the TPM of the endorsement key";

test("an honest host is recorded, with its maker if one is given", async () => {
  const { one, plain } = platforms;
  const certified = await drafted(one, {}, { roots: pems(one) });
  expect(certified.policy.endorsementKey.certificate).toMatchObject({ chainChecked: true });
  const unchecked = await drafted(one);
  expect(unchecked.policy.endorsementKey.certificate).toMatchObject({ chainChecked: false });
  expect((await drafted(plain)).policy.endorsementKey.certificate).toBeNull();
});

// [ATT-1]
describe("an attestation key", () => {
  test("of another TPM than the endorsement key's is not recorded", async () => {
    const { one, other } = platforms;
    const { akPublic } = await otherKeys(other);
    const lie = { enrolled: (right: Enrolled) => ({ ...right, akPublic }), activated: guess };
    expect(await refusal(one, lie)).toMatchObject({ code: "attestation", message: notOfThatTpm });
  });

  test("that software has made, with all that a TPM's has, is not recorded", async () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const akPublic = akPublicOf(publicKey).toString("base64");
    const lie = { enrolled: (right: Enrolled) => ({ ...right, akPublic }), activated: guess };
    expect(await refusal(platforms.one, lie)).toMatchObject({ code: "attestation", message: notOfThatTpm });
  });

  const { fixedTpm, fixedParent, sensitiveDataOrigin, restricted, sign, decrypt } = attribute;
  const usual = attestationTemplate(Buffer.alloc(32)).attributes;
  test.each([
    ["that may leave its TPM", usual & ~fixedTpm],
    ["that may go to another parent", usual & ~fixedParent],
    ["that was brought into its TPM", usual & ~sensitiveDataOrigin],
    ["that signs anything", usual & ~restricted],
    ["that does not sign", usual & ~sign],
    ["that decrypts as well", usual | decrypt],
  ])("%s is not even tried", async (_, attributes) => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const akPublic = akPublicOf(publicKey, attributes).toString("base64");
    let activations = 0;
    const lie: Lie = {
      enrolled: (right) => ({ ...right, akPublic }),
      activated: () => {
        activations++;
        return guess();
      },
    };
    const error = await refusal(platforms.one, lie);
    expect(error.code).toBe("attestation");
    expect(error.message).toMatch(/^the attestation key /i);
    expect(activations).toBe(0);
  });

  test.each([
    ["cut", (bytes: Buffer) => bytes.subarray(0, -1)],
    ["with a byte behind it", (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(1)])],
    ["empty", () => Buffer.alloc(0)],
    ["of 2048 bytes of 0xff", () => Buffer.alloc(2048, 0xff)],
  ])("%s is refused as what it is", async (_, change) => {
    const lie: Lie = {
      enrolled: (right) => ({
        ...right,
        akPublic: change(Buffer.from(right.akPublic, "base64")).toString("base64"),
      }),
    };
    expect((await refusal(platforms.one, lie)).code).toBe("attestation");
  });
});

// [ATT-2]
describe("an enrolment", () => {
  test.each([
    ["of another connection", { exporter: Buffer.alloc(32, 5) }],
    ["of another host", { prover: `sha256:${"6".repeat(64)}` }],
    ["to another verifier", { verifier: `sha256:${"7".repeat(64)}` }],
    ["in the role of a source", { role: "source" as const }],
    ["in a session", { session: "8".repeat(32), attempt: 1 }],
  ])("%s is worth nothing", async (_, binding) => {
    expect(await refusal(platforms.plain, { binding })).toMatchObject({
      code: "attestation",
      message: notOfThatTpm,
    });
  });
});

describe("an endorsement key's certificate", () => {
  test("of a maker that is not among the given ones is refused", async () => {
    const { one, other } = platforms;
    const error = await refusal(one, {}, { roots: pems(other) });
    expect(error.code).toBe("attestation");
    expect(error.message).toContain("none of the makers given");
  });

  test("of another TPM is refused, whether or not its maker is asked for", async () => {
    const { one, other } = platforms;
    const { ekCertificate } = await otherKeys(other);
    const lie: Lie = { enrolled: (right) => ({ ...right, ekCertificate: ekCertificate! }) };
    for (const roots of [undefined, pems(other)])
      expect((await refusal(one, lie, roots === undefined ? {} : { roots })).message).toContain(
        "is over another key than the one it shows",
      );
  });

  test("that is left out is refused, where a maker is asked for", async () => {
    const { one, plain } = platforms;
    const without: Lie = { enrolled: ({ ekCertificate, ...right }) => right };
    for (const [platform, lie] of [
      [one, without],
      [plain, {}],
    ] as const) {
      const error = await refusal(platform, lie, { roots: pems(one) });
      expect(error.code).toBe("attestation");
      expect(error.message).toContain("certificate");
    }
  });
});

describe("a TPM that was exchanged", () => {
  test("is said, key by key, before the new one is recorded", async () => {
    const { one, other } = platforms;
    const home = openHome(mkdtempSync(join(root, "h-")));
    record(home, await drafted(one, {}, { home }));
    expect((await drafted(one, {}, { home })).changes).toEqual([]);
    const { changes, before, policy } = await drafted(other, {}, { home });
    expect(before?.version).toBe(1);
    expect(policy.version).toBe(2);
    const said = changes.join("\n");
    expect(said).toMatch(/endorsement key/i);
    expect(said).toMatch(/attestation key/i);
    // Nothing is taken over by asking.
    expect(readPolicy(home, identity.fingerprint)?.policy.version).toBe(1);
    expect(existsSync(join(home, "attest"))).toBe(true);
  });
});
