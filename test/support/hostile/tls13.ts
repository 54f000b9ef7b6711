/**
 * Just enough of TLS 1.3 (RFC 8446) to lie in it: the key schedule, the record layer and the messages
 * of TLS_AES_128_GCM_SHA256 over x25519. The libraries check that a certificate and a key belong
 * together before they show them; a thief's own program would not.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";

export const messageTypes = {
  clientHello: 1,
  serverHello: 2,
  encryptedExtensions: 8,
  certificate: 11,
  certificateRequest: 13,
  certificateVerify: 15,
  finished: 20,
} as const;

const recordTypes = { changeCipherSpec: 20, alert: 21, handshake: 22, data: 23 } as const;
export const cipherSuite = 0x1301;
export const x25519Group = 0x001d;
export const ecdsaP256Sha256 = 0x0403;

const empty = Buffer.alloc(0);
const zeros = Buffer.alloc(32);

export const u8 = (value: number): Buffer => Buffer.of(value);
export const u16 = (value: number): Buffer => Buffer.of(value >> 8, value & 0xff);
export const u24 = (value: number): Buffer => Buffer.of(value >> 16, (value >> 8) & 0xff, value & 0xff);
/** `bytes` behind their length in 1, 2 or 3 bytes. */
export const vector = (lengthBytes: 1 | 2 | 3, ...bytes: Buffer[]): Buffer => {
  const whole = Buffer.concat(bytes);
  const length =
    lengthBytes === 1 ? u8(whole.length) : lengthBytes === 2 ? u16(whole.length) : u24(whole.length);
  return Buffer.concat([length, whole]);
};

/** A handshake message (RFC 8446 section 4). */
export function message(type: number, ...body: Buffer[]): Buffer {
  return Buffer.concat([u8(type), vector(3, ...body)]);
}

/** An x25519 key, its public half as it goes over the wire, and the secret shared with another's. */
export function makeKeyShare(): { share: Buffer; secretWith: (peer: Buffer) => Buffer } {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  const spkiPrefix = Buffer.from("302a300506032b656e032100", "hex");
  return {
    share: publicKey.export({ type: "spki", format: "der" }).subarray(-32),
    secretWith: (peer) => {
      const key = createPublicKey({ key: Buffer.concat([spkiPrefix, peer]), format: "der", type: "spki" });
      return diffieHellman({ privateKey, publicKey: key });
    },
  };
}

function hmac(key: Buffer, data: Buffer): Buffer {
  return createHmac("sha256", key).update(data).digest();
}

/** HKDF-Expand-Label for at most 32 bytes (section 7.1). */
function expand(secret: Buffer, label: string, context: Buffer, length: number): Buffer {
  const info = Buffer.concat([u16(length), vector(1, Buffer.from(`tls13 ${label}`)), vector(1, context)]);
  return hmac(secret, Buffer.concat([info, u8(1)])).subarray(0, length);
}

/** The secrets of a connection, from its transcript (section 7.1). */
export class Schedule {
  #transcript = createHash("sha256");
  #secret = hmac(zeros, zeros);

  /** Adds handshake messages to the transcript. */
  add(...messages: Buffer[]): void {
    for (const each of messages) this.#transcript.update(each);
  }

  get hash(): Buffer {
    return this.#transcript.copy().digest();
  }

  /** Mixes in the shared secret, or nothing for the master secret. */
  advance(input: Buffer = zeros): void {
    this.#secret = hmac(expand(this.#secret, "derived", createHash("sha256").digest(), 32), input);
  }

  derive(label: string): Buffer {
    return expand(this.#secret, label, this.hash, 32);
  }
}

/** The MAC of Finished under a side's handshake traffic secret (section 4.4.4). */
export function finished(trafficSecret: Buffer, transcriptHash: Buffer): Buffer {
  return message(messageTypes.finished, hmac(expand(trafficSecret, "finished", empty, 32), transcriptHash));
}

/** A Certificate message with one certificate. */
export function certificate(requestContext: Buffer, der: Buffer): Buffer {
  return message(messageTypes.certificate, vector(1, requestContext), vector(3, vector(3, der), u16(0)));
}

/** A CertificateVerify message by `key`, whether or not that is the certificate's (section 4.4.3). */
export function certificateVerify(side: "client" | "server", transcriptHash: Buffer, key: KeyObject): Buffer {
  const content = Buffer.concat([
    Buffer.alloc(64, 0x20),
    Buffer.from(`TLS 1.3, ${side} CertificateVerify\0`),
    transcriptHash,
  ]);
  return message(
    messageTypes.certificateVerify,
    u16(ecdsaP256Sha256),
    vector(2, sign("sha256", content, key)),
  );
}

/** One direction of the record layer under one traffic secret (section 5.2). */
export class Protection {
  readonly #key: Buffer;
  readonly #iv: Buffer;
  #sequence = 0;

  constructor(trafficSecret: Buffer) {
    this.#key = expand(trafficSecret, "key", empty, 16);
    this.#iv = expand(trafficSecret, "iv", empty, 12);
  }

  seal(type: "handshake" | "data", content: Buffer): Buffer {
    const inner = Buffer.concat([content, u8(recordTypes[type])]);
    const header = Buffer.concat([u8(recordTypes.data), u16(0x0303), u16(inner.length + 16)]);
    const cipher = createCipheriv("aes-128-gcm", this.#key, this.#nonce()).setAAD(header);
    return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
  }

  /** Throws where the record was not made under this secret. */
  open(record: Buffer): { type: number; content: Buffer } {
    const decipher = createDecipheriv("aes-128-gcm", this.#key, this.#nonce()).setAAD(record.subarray(0, 5));
    decipher.setAuthTag(record.subarray(-16));
    const inner = Buffer.concat([decipher.update(record.subarray(5, -16)), decipher.final()]);
    let end = inner.length;
    while (inner[end - 1] === 0) end--;
    return { type: inner[end - 1]!, content: inner.subarray(0, end - 1) };
  }

  #nonce(): Buffer {
    const nonce = Buffer.from(this.#iv);
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ this.#sequence++) >>> 0, 8);
    return nonce;
  }
}

/** A handshake message in a record of its own that is not encrypted. */
export function plainRecord(handshake: Buffer): Buffer {
  return Buffer.concat([u8(recordTypes.handshake), u16(0x0303), vector(2, handshake)]);
}

export interface Incoming {
  /** "alert" carries its description as a number in `content[1]` (section 6). */
  kind: "handshake" | "data" | "alert";
  /** A whole handshake message with its header, or data. */
  content: Buffer;
}

/** Cuts what comes into records and handshake messages; decrypts once `protection` is set. */
export class RecordReader {
  protection: Protection | undefined;
  readonly #read: () => Promise<Buffer>;
  #bytes: Buffer = empty;
  #handshake: Buffer = empty;

  /** `read` gives more bytes, and rejects at the end of the connection. */
  constructor(read: () => Promise<Buffer>) {
    this.#read = read;
  }

  /** A handshake message of this type; throws an Error that says what came instead. */
  async expect(type: number): Promise<Buffer> {
    const { kind, content } = await this.next();
    if (kind === "handshake" && content[0] === type) return content;
    throw new Error(
      `wanted handshake message ${type}, got ${kind} ${content.subarray(0, 2).toString("hex")}`,
    );
  }

  async next(): Promise<Incoming> {
    for (;;) {
      if (this.#handshake.length >= 4) {
        const end = 4 + this.#handshake.readUIntBE(1, 3);
        if (this.#handshake.length >= end) {
          const content = this.#handshake.subarray(0, end);
          this.#handshake = this.#handshake.subarray(end);
          return { kind: "handshake", content };
        }
      }
      const { type, content } = await this.#record();
      if (type === recordTypes.handshake) this.#handshake = Buffer.concat([this.#handshake, content]);
      if (type === recordTypes.alert) return { kind: "alert", content };
      if (type === recordTypes.data) return { kind: "data", content };
    }
  }

  async #record(): Promise<{ type: number; content: Buffer }> {
    while (this.#bytes.length < 5 || this.#bytes.length < 5 + this.#bytes.readUInt16BE(3)) {
      this.#bytes = Buffer.concat([this.#bytes, await this.#read()]);
    }
    const end = 5 + this.#bytes.readUInt16BE(3);
    const record = this.#bytes.subarray(0, end);
    this.#bytes = this.#bytes.subarray(end);
    const type = record[0]!;
    if (type === recordTypes.data && this.protection) return this.protection.open(record);
    return { type, content: record.subarray(5) };
  }
}
