/** The ciphers of the record layer against published vectors, and against @noble as a second opinion. */
import { describe, expect, test } from "bun:test";
import { createCipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { cbc, gcm } from "@noble/ciphers/aes.js";
import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha1 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import type { Meter } from "../../../../src/profiler/engine/account/operation-meter.ts";
import { infoOf, type RecordKeys, recordKeys } from "../../../../src/profiler/engine/records/record-keys.ts";
import { nonceOf, recordProtection } from "../../../../src/profiler/engine/records/record-protection.ts";
import { StreamDigest } from "../../../../src/profiler/engine/records/stream-digest.ts";
import type { SuiteName } from "../../../../src/profiler/statistics/samples.ts";
import { type RecordSuite, suiteOf } from "../../../../src/profiler/statistics/suite.ts";

/** Nothing is measured here. */
const noMeter: Meter = { to: () => {} };

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ""), "hex");

function laneOf(name: SuiteName): RecordSuite {
  const { lane } = suiteOf(name);
  if (lane.kind === "none" || lane.kind === "tls") throw new Error(`${name} has no records`);
  return lane;
}

/** A protection with keys of our choice. */
function protectionOf(name: SuiteName, keys: Partial<RecordKeys>) {
  const none = Buffer.alloc(0);
  return recordProtection(laneOf(name), { encryption: none, mac: none, iv: none, ...keys }, noMeter);
}

const header = hex("000000100100000000000000 00000005");
const macKey = Buffer.alloc(20, 0x0b);

/** A body that a sealer with this MAC key would have made around a ciphertext. */
function withMac(covered: Buffer): Buffer {
  return Buffer.concat([covered, createHmac("sha1", macKey).update(header).update(covered).digest()]);
}

describe("published vectors", () => {
  test("AES-128: FIPS 197, appendix C.1", () => {
    const cipher = createCipheriv("aes-128-cbc", hex("000102030405060708090a0b0c0d0e0f"), Buffer.alloc(16));
    expect(cipher.update(hex("00112233445566778899aabbccddeeff")).toString("hex")).toBe(
      "69c4e0d86a7b0430d8cdb78070b4c55a",
    );
  });

  test("AES-128-CBC: SP 800-38A, F.2.1, opened by the record layer", () => {
    const plain = hex(
      "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51 30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710",
    );
    const body = hex(
      "000102030405060708090a0b0c0d0e0f 7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2 73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7",
    );
    const protection = protectionOf("aes-128", {
      encryption: hex("2b7e151628aed2a6abf7158809cf4f3c"),
      mac: macKey,
    });
    // The vector's last byte, 0x10, reads as a whole block of padding.
    expect(protection.open(header, 5n, withMac(body))).toEqual(plain.subarray(0, 48));
  });

  test("3DES: SP 800-67, appendix B", () => {
    const key = hex("0123456789ABCDEF 23456789ABCDEF01 456789ABCDEF0123");
    const blocks = [
      ["5468652071756663", "a826fd8ce53b855f"],
      ["6b2062726f776e20", "cce21c8112256fe6"],
      ["666f78206a756d70", "68d5c05dd9b6b900"],
    ];
    for (const [plain, ciphertext] of blocks) {
      const cipher = createCipheriv("des-ede3-cbc", key, Buffer.alloc(8));
      expect(cipher.update(hex(plain!)).toString("hex")).toBe(ciphertext!);
    }
  });

  test("RC4: RFC 6229, keys of 40 and 128 bits, the latter through the record layer", () => {
    const short = createCipheriv("rc4", hex("0102030405"), null).update(Buffer.alloc(32));
    expect(short.toString("hex")).toBe("b2396305f03dc027ccc3524a0a1118a86982944f18fc82d589c403a47a0d0919");
    const long = protectionOf("rc4", { encryption: hex("0102030405060708090a0b0c0d0e0f10"), mac: macKey });
    // Two records, so that the keystream goes on where it stopped.
    const [first] = long.seal(header, 0n, Buffer.alloc(16));
    const [second] = long.seal(header, 1n, Buffer.alloc(16));
    expect(first!.toString("hex")).toBe("9ac7cc9a609d1ef7b2932899cde41b97");
    expect(second!.toString("hex")).toBe("5248c4959014126a6e8a84f11d1a9e1c");
  });

  test("HMAC-SHA1: RFC 2202, cases 1 to 3", () => {
    const mac = (key: Buffer, data: Buffer) => createHmac("sha1", key).update(data).digest("hex");
    expect(mac(macKey, Buffer.from("Hi There"))).toBe("b617318655057264e28bc0b6fb378c8ef146be00");
    expect(mac(Buffer.from("Jefe"), Buffer.from("what do ya want for nothing?"))).toBe(
      "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
    );
    expect(mac(Buffer.alloc(20, 0xaa), Buffer.alloc(50, 0xdd))).toBe(
      "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
    );
  });

  test("ChaCha20-Poly1305: RFC 8439, section 2.8.2", () => {
    const text =
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    const key = Buffer.from(Array.from({ length: 32 }, (_, i) => 0x80 + i));
    const sealed = chacha20poly1305(
      key,
      hex("070000004041424344454647"),
      hex("50515253c0c1c2c3c4c5c6c7"),
    ).encrypt(Buffer.from(text));
    expect(Buffer.from(sealed).toString("hex")).toBe(
      "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
    );
  });

  test("AES-128-GCM: McGrew and Viega, test case 4", () => {
    const cipher = createCipheriv(
      "aes-128-gcm",
      hex("feffe9928665731c6d6a8f9467308308"),
      hex("cafebabefacedbaddecaf888"),
    );
    cipher.setAAD(hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"));
    const ciphertext = cipher.update(
      hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
      ),
    );
    cipher.final();
    expect(ciphertext.toString("hex")).toBe(
      "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
    );
    expect(cipher.getAuthTag().toString("hex")).toBe("5bc94fbc3221a5db94fae95ae7121a47");
  });

  test("HKDF-SHA256: RFC 5869, case 1", () => {
    const okm = hkdfSync(
      "sha256",
      Buffer.alloc(22, 0x0b),
      hex("000102030405060708090a0b0c"),
      hex("f0f1f2f3f4f5f6f7f8f9"),
      42,
    );
    expect(Buffer.from(okm).toString("hex")).toBe(
      "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    );
  });
});

describe("a second opinion", () => {
  const lengths = [0, 1, 15, 16, 17, 4096, 70_001];

  test.each(lengths)("AES-128-CBC and HMAC-SHA1 of %i bytes are what @noble computes", (length) => {
    const keys = { encryption: randomBytes(16), mac: randomBytes(20) };
    const plain = randomBytes(length);
    const [iv, blocks, last, mac] = protectionOf("aes-128", keys).seal(header, 5n, plain);
    const ciphertext = Buffer.concat([blocks!, last!]);
    expect(Buffer.from(cbc(keys.encryption, iv!).encrypt(plain)).equals(ciphertext)).toBe(true);
    const covered = Buffer.concat([header, iv!, ciphertext]);
    expect(Buffer.from(hmac(sha1, keys.mac, covered)).equals(mac!)).toBe(true);
  });

  test("3DES uses HMAC-SHA1 over header, IV and ciphertext, and a new IV for each record", () => {
    const keys = { encryption: randomBytes(24), mac: randomBytes(20) };
    const protection = protectionOf("3des", keys);
    const [iv, blocks, last, mac] = protection.seal(header, 5n, Buffer.alloc(100));
    const covered = Buffer.concat([header, iv!, blocks!, last!]);
    expect(Buffer.from(hmac(sha1, keys.mac, covered)).equals(mac!)).toBe(true);
    expect(iv!.equals(protection.seal(header, 6n, Buffer.alloc(100))[0]!)).toBe(false);
    // CBC by hand, from single blocks, whose cipher has its own vectors above: 12 zero blocks, then 4 bytes padded.
    let before = iv!;
    const ciphertext = Buffer.concat([blocks!, last!]);
    for (let at = 0; at < ciphertext.length; at += 8) {
      const plain = at < 96 ? Buffer.alloc(8) : Buffer.from([0, 0, 0, 0, 4, 4, 4, 4]);
      const mixed = Buffer.from(plain.map((byte, i) => byte ^ before[i]!));
      before = createCipheriv("des-ede3-cbc", keys.encryption, Buffer.alloc(8)).update(mixed);
      expect(before).toEqual(ciphertext.subarray(at, at + 8));
    }
  });

  test.each(lengths)(
    "AES-128-GCM of %i bytes is what @noble computes, the header authenticated",
    (length) => {
      const keys = { encryption: randomBytes(16), iv: randomBytes(12) };
      const plain = randomBytes(length);
      const body = Buffer.concat(protectionOf("aes-128-gcm", keys).seal(header, 5n, plain));
      const expected = gcm(keys.encryption, nonceOf(keys.iv, 5n), header).encrypt(plain);
      expect(Buffer.from(expected).equals(body)).toBe(true);
    },
  );

  test("the nonce is the IV with the sequence number XORed into its last 64 bits (RFC 8446, 5.3)", () => {
    const iv = hex("5d313eb2671276ee13000b30");
    expect(nonceOf(iv, 0n)).toEqual(iv);
    expect(nonceOf(iv, 1n).toString("hex")).toBe("5d313eb2671276ee13000b31");
    expect(nonceOf(iv, 0xff00000000000001n).toString("hex")).toBe("5d313eb2981276ee13000b31");
  });

  test("keys are HKDF-SHA256 of the exporter's value, as @noble computes it, and no two are alike", () => {
    const exporter = randomBytes(32);
    const context = { suite: "aes-128", direction: "source to destination", lane: 0 } as const;
    const keys = recordKeys(exporter, context, laneOf("aes-128"));
    const expected = (purpose: string, bytes: number) =>
      Buffer.from(hkdf(sha256, exporter, undefined, Buffer.from(infoOf(context, purpose)), bytes));
    expect(keys.encryption).toEqual(expected("encryption", 16));
    expect(keys.mac).toEqual(expected("mac", 20));
    const others = [
      recordKeys(exporter, { ...context, direction: "destination to source" }, laneOf("aes-128")),
      recordKeys(exporter, { ...context, lane: 1 }, laneOf("aes-128")),
      recordKeys(exporter, { ...context, suite: "rc4" }, laneOf("rc4")),
      recordKeys(randomBytes(32), context, laneOf("aes-128")),
    ];
    const all = [keys, ...others].flatMap(({ encryption, mac }) => [encryption, mac.subarray(0, 16)]);
    expect(new Set(all.map((key) => key.toString("hex"))).size).toBe(all.length);
    expect(() => recordKeys(randomBytes(16), context, laneOf("aes-128"))).toThrow(RangeError);
  });

  test("the digest in pieces is AES-GMAC of the whole, as @noble computes it", () => {
    const key = randomBytes(16);
    const bytes = randomBytes(100_003);
    const digest = new StreamDigest(key);
    for (let at = 0; at < bytes.length; at += 7919) digest.update(bytes.subarray(at, at + 7919));
    digest.update(Buffer.alloc(0));
    const whole = gcm(key, new Uint8Array(12), bytes).encrypt(new Uint8Array(0));
    expect(digest.finish()).toBe(Buffer.from(whole).toString("hex"));
  });
});
