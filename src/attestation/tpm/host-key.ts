/**
 * A host's own key for TLS that its TPM makes: made, given out into memory as long as the key's policy holds, and
 * certified by the attestation key (TPM 2.0 Library Part 3: TPM2_Create 12.1, TPM2_Load 12.2, TPM2_Duplicate 13.1,
 * TPM2_CertifyCreation 18.3).
 */
import { createPrivateKey } from "node:crypto";
import { algorithm } from "../structures/algorithms.ts";
import { parseAttest } from "../structures/attest.ts";
import { hostKeyPolicy, hostKeyTemplate, storageTemplate } from "../structures/key-templates.ts";
import { sized, u16, u32 } from "../structures/marshal.ts";
import { digestOfRegisters, encodeSelection } from "../structures/pcr-selection.ts";
import type { PcrSelection } from "../structures/platform-state.ts";
import { encodePublic, hasTemplate, nameOf, parsePublic } from "../structures/public-area.ts";
import { StructureReader } from "../structures/structure-reader.ts";
import { garbage } from "./connection.ts";
import { startPolicy } from "./endorsement-key.ts";
import type { HostKeyText } from "./host-key-text.ts";
import { createPrimary, nothingOutside, nothingSensitive } from "./primary-key.ts";
import { readRegisters } from "./registers.ts";
import { rc, TpmError } from "./response-code.ts";
import { handle, type Tpm } from "./tpm.ts";

const duplicateCode = 0x14b;

/** Makes a key, bound to the values that the registers have now where some are given. Throws TpmError. */
export async function makeHostKey(tpm: Tpm, selection: PcrSelection | null): Promise<HostKeyText> {
  const registers = selection === null ? null : { selection, values: await readRegisters(tpm, selection) };
  const template = hostKeyTemplate(hostKeyPolicy(withDigest(registers)));
  const parent = await createPrimary(tpm, handle.owner, storageTemplate);
  const { reader } = await tpm.run("Create", {
    handles: [parent.handle],
    auths: ["password"],
    parameters: [nothingSensitive, sized(encodePublic(template)), ...nothingOutside],
  });
  const [privateBytes, publicBytes] = [reader.sized(), reader.sized()];
  reader.sized();
  const [creationHash, ticket] = [reader.sized(), reader.rest()];
  if (!hasTemplate(parsePublic(publicBytes, garbage), template))
    throw garbage("another key than the one asked for");
  await tpm.flush(parent.handle);
  return { registers, publicBytes, privateBytes, creationHash, ticket };
}

/**
 * The key as PKCS #8, PEM, as the TPM gives it out. Throws TpmError, with a sentence of its own where the TPM does not know the key and
 * where a register has another value than when the key was made.
 */
export async function openHostKey(tpm: Tpm, key: HostKeyText): Promise<string> {
  const loaded = await loadHostKey(tpm, key);
  const session = await startPolicy(tpm);
  await tpm.run("PolicyCommandCode", { handles: [session], parameters: [u32(duplicateCode)] });
  if (key.registers !== null) {
    await tpm.run("PolicyPCR", {
      handles: [session],
      // No digest: the registers as they are.
      parameters: [sized(), encodeSelection(key.registers.selection)],
    });
  }
  let sensitive: Buffer;
  try {
    const { reader } = await tpm.run("Duplicate", {
      handles: [loaded, handle.nothing],
      auths: [session],
      parameters: [sized(), u16(algorithm.nothing)],
    });
    reader.sized();
    sensitive = reader.sized();
  } catch (thrown) {
    // The second, where one changed between the two commands.
    const isOther =
      thrown instanceof TpmError && (thrown.rc === rc.policyFail || thrown.rc === rc.pcrChanged);
    if (key.registers !== null && isOther) throw await otherRegisters(tpm, key.registers, thrown);
    throw thrown;
  }
  return privateKeyPem(key.publicBytes, sensitive);
}

/** The certification of the key by the attestation key with that handle. Throws TpmError. */
export async function certifyHostKey(
  tpm: Tpm,
  attestationKey: number,
  key: HostKeyText,
  qualifyingData: Buffer,
): Promise<{ certified: Buffer; signature: Buffer }> {
  const loaded = await loadHostKey(tpm, key);
  const { reader } = await tpm.run("CertifyCreation", {
    handles: [attestationKey, loaded],
    auths: ["password"],
    parameters: [sized(qualifyingData), sized(key.creationHash), u16(algorithm.nothing), key.ticket],
  });
  const [certified, signature] = [reader.sized(), reader.rest()];
  const attest = parseAttest(certified, garbage);
  if (attest.kind !== "certify" || !attest.name.equals(nameOf(key.publicBytes, garbage)))
    throw garbage("the certification of another key");
  return { certified, signature };
}

async function loadHostKey(tpm: Tpm, { privateBytes, publicBytes }: HostKeyText): Promise<number> {
  const parent = await createPrimary(tpm, handle.owner, storageTemplate);
  try {
    const { handle: loaded } = await tpm.run("Load", {
      handles: [parent.handle],
      auths: ["password"],
      parameters: [sized(privateBytes), sized(publicBytes)],
    });
    return loaded;
  } catch (thrown) {
    if (thrown instanceof TpmError && thrown.rc === rc.integrity)
      throw new TpmError("This host's TPM does not know the key of this host's identity.", {
        hint: "The TPM was cleared or exchanged, and the key is lost. Make a new identity with migrate id --tpm, and pair this host again.",
        rc: rc.integrity,
        cause: thrown,
      });
    throw thrown;
  } finally {
    await tpm.flush(parent.handle).catch(() => {});
  }
}

async function otherRegisters(
  tpm: Tpm,
  { selection, values }: NonNullable<HostKeyText["registers"]>,
  cause: TpmError,
): Promise<TpmError> {
  const now = await readRegisters(tpm, selection);
  const changed = selection.registers.filter((register) => now.get(register) !== values.get(register));
  const which = changed.length === 0 ? selection.registers : changed;
  const named = which.length === 1 ? `register ${which[0]} has` : `registers ${which.join(", ")} have`;
  return new TpmError(
    `This host's TPM does not give out the key of this host's identity: ${named} another value than when the key was made.`,
    {
      hint: "The firmware, its settings or what it boots has changed. Boot as before; or make a new identity with migrate id --tpm, and pair this host again.",
      rc: rc.policyFail,
      cause,
    },
  );
}

function withDigest(registers: HostKeyText["registers"]) {
  if (registers === null) return null;
  const digest = digestOfRegisters(registers.selection, registers.values);
  if (digest === null) throw garbage("fewer registers than those asked for");
  return { selection: registers.selection, digest };
}

/** `sensitive` is what a TPM gives out without a wrapper: TPM2B_SENSITIVE (Part 2, 12.3.2.4; Part 1, 23.3). */
function privateKeyPem(publicBytes: Buffer, sensitive: Buffer): string {
  const outer = new StructureReader(sensitive, garbage);
  const reader = new StructureReader(outer.sized(), garbage);
  outer.end();
  if (reader.u16() !== algorithm.ecc) throw garbage("a key of another kind than the one asked for");
  // Its password and the seed of its children: it has neither.
  reader.sized();
  reader.sized();
  const number = reader.sized(32);
  reader.end();
  const area = parsePublic(publicBytes, garbage);
  if (area.kind !== "ecc") throw garbage("a key of another kind than the one asked for");
  const d = Buffer.alloc(area.curve.bytes);
  number.copy(d, d.length - number.length);
  const text = (bytes: Buffer) => bytes.toString("base64url");
  try {
    const key = createPrivateKey({
      format: "jwk",
      key: { kty: "EC", crv: area.curve.jwk, x: text(area.x), y: text(area.y), d: text(d) },
    });
    return key.export({ type: "pkcs8", format: "pem" }) as string;
  } catch {
    throw garbage("numbers that are no key");
  } finally {
    d.fill(0);
    sensitive.fill(0);
  }
}
