import { describe, expect, test } from "bun:test";
import { type ErrorCode, errorCodes, MigrateError } from "../../src/protocol/errors.ts";
import { FrameDecoder, frameTypes, payloadLimit } from "../../src/protocol/frames.ts";
import { usualQcow2 } from "../../src/protocol/image-shape.ts";
import { limits } from "../../src/protocol/limits.ts";
import {
  decodeMessage,
  encodeError,
  encodeMessage,
  isMessageName,
  type MessageBody,
  type MessageName,
} from "../../src/protocol/messages.ts";
import type { Offer, OfferedMachine } from "../../src/protocol/offer.ts";
import { printable } from "../../src/protocol/printable.ts";
import { wireModelOf } from "../support/guests/qemu-place.ts";

const digest = `sha256:${"ab".repeat(32)}`;
const session = "0123456789abcdef".repeat(2);
const offer: Offer = {
  name: "web1",
  vm: "01234567-89ab-cdef-0123-456789abcdef",
  mode: "move",
  chunkBytes: limits.chunkBytes,
  tagKey: "00".repeat(16),
  files: [{ kind: "disk", name: "web1.qcow2", bytes: 1, allocatedBytes: 4096 }],
};

/** One of each; a message that is missing here does not compile. */
const samples: { [N in MessageName]: MessageBody<N> } = {
  hello: { version: limits.version, role: "control", software: "test", session, attempt: 1 },
  welcome: { version: limits.version, software: "test", trusted: true },
  error: { code: "protocol", message: "why" },
  pair: { ticket: "00".repeat(8), proof: "11".repeat(32) },
  paired: {},
  offer,
  ask: offer,
  answer: { refused: [], room: { neededBytes: 1, freeBytes: 2, promisedBytes: 0 } },
  challenge: {
    nonce: "aa".repeat(32),
    policy: "bb".repeat(32),
    bank: "sha256",
    registers: [0, 7],
    events: true,
  },
  evidence: { quoted: "/1RDRw==", signature: "ABgACw==", values: ["cc".repeat(32), "dd".repeat(32)] },
  fetch: { log: "ima", from: 0 },
  log: { bytes: "AAAA" },
  attest: {},
  verdict: {},
  enrol: { nonce: "aa".repeat(32) },
  enrolled: { ekPublic: "AAEACw==", akPublic: "ACMACw==" },
  activate: { credentialBlob: "ACAA", encryptedSecret: "AQAA" },
  activated: { proof: "ee".repeat(32) },
  accept: { state: "receiving", laneToken: "22".repeat(16), inventory: false },
  inventoryEnd: {},
  seal: { digest, files: [digest] },
  ready: { digest },
  release: {},
  owned: {},
  publish: {},
  published: {},
  confirm: {},
  closed: {},
  cancel: {},
  cancelled: {},
  query: { session },
  state: { session, state: "owner" },
  list: {},
  sessions: {
    rows: [
      {
        session,
        name: "web1",
        mode: "move",
        state: "receiving",
        phase: "seal",
        bytes: 2,
        doneBytes: 1,
        createdAtMs: 1,
        updatedAtMs: 2,
      },
    ],
  },
  ping: {},
  pong: {},
  profile: { bytes: 1, source: digest },
  profiling: { destination: digest, port: 1, plainPort: 2, secret: "33".repeat(32) },
  run: { number: 1, proof: "44".repeat(32), suite: "none", digestKey: "55".repeat(16), fileBytes: [1] },
  start: {},
  started: { instance: "88".repeat(16), streamToken: "99".repeat(16) },
  runReady: { lane: "66".repeat(16) },
  runEnd: { bytes: 1, digest: "77".repeat(16) },
  runDone: { figures: { cpuMs: 1.5 } },
};

const machine: OfferedMachine = {
  live: true,
  definition: wireModelOf(["qemu-system-x86_64", "-m", "256"]),
  disks: [{ name: "web1.qcow2", format: "qcow2", bytes: 4096, allocatedBytes: 0 }],
  channels: 2,
  patienceMs: 60_000,
};

const payloadOf = (frame: Buffer) => frame.subarray(limits.frameHeaderBytes);
const json = (value: unknown) => Buffer.from(JSON.stringify(value));

function refusal(name: MessageName, payload: Buffer): MigrateError {
  try {
    decodeMessage(name, payload);
  } catch (thrown) {
    if (thrown instanceof MigrateError) return thrown;
    throw thrown;
  }
  throw new Error(`the ${name} message was not refused`);
}

describe("each message", () => {
  for (const name of Object.keys(samples) as MessageName[]) {
    test(`${name} is read back as it was written, and needs each of its fields`, () => {
      const body = samples[name] as Record<string, unknown>;
      const frame = encodeMessage(name, samples[name]);
      expect(frame.readUInt8(4)).toBe(frameTypes[name]);
      expect(frame.readUInt32BE(0)).toBe(frame.length - limits.frameHeaderBytes);
      expect(decodeMessage(name, payloadOf(frame))).toEqual({ name, body } as never);
      for (const field of Object.keys(body)) {
        const { [field]: _, ...rest } = body;
        if (field === "session" && name === "hello") continue;
        if (field === "attempt") continue;
        const { code, message } = refusal(name, json(rest));
        expect(code).toBe(
          (name === "offer" || name === "ask") && field === "name" ? "name-invalid" : "protocol",
        );
        expect(message).toContain(`${name}.${field}`);
        expect(refusal(name, json({ ...body, [field]: null })).message).toContain(field);
      }
    });
  }

  test("that is none is told from those that are", () => {
    for (const name of [
      "chunk",
      "ack",
      "inventory",
      "describe",
      "want",
      "data",
      "dataAck",
      "dataEnd",
    ] as const) {
      expect(isMessageName(name)).toBe(false);
    }
    for (const name of Object.keys(samples)) expect(isMessageName(name as MessageName)).toBe(true);
  });

  // [MSG-2]
  test("loses the fields that are not known", () => {
    const { body } = decodeMessage("query", json({ session, more: 1, __proto__: { state: "owner" } }));
    expect(body).toEqual({ session });
    expect(Object.getPrototypeOf(body)).toBe(Object.prototype);
  });

  // [MSG-1]
  test("of nested brackets as deep as a payload can be is refused like any other", () => {
    const deep = Buffer.alloc(limits.controlPayloadBytes, "[");
    expect(refusal("offer", deep).code).toBe("protocol");
    const object = Buffer.from('{"a":'.repeat(limits.controlPayloadBytes / 5));
    expect(refusal("offer", object).code).toBe("protocol");
  });
});

describe("what saves bytes", () => {
  test("is read back as it was written: zstd, index and base of ACCEPT, the base of OFFER", () => {
    const accept = { ...samples.accept, zstd: true, index: "bb".repeat(16), base: false };
    expect(decodeMessage("accept", payloadOf(encodeMessage("accept", accept))).body).toEqual(accept);
    for (const wrong of [{ zstd: 1 }, { index: "bb".repeat(15) }, { index: null }, { base: "debian" }]) {
      expect(refusal("accept", json({ ...accept, ...wrong })).code).toBe("protocol");
    }
    const based = { ...offer, base: "debian 12" };
    expect(decodeMessage("offer", payloadOf(encodeMessage("offer", based))).body).toEqual(based);
  });

  // [MSG-3] [MSG-4]
  test("names no base that could not be a VM's name", () => {
    for (const base of ["", "..", "a/b", ".incoming", "web1.migrated", "x".repeat(129), 7, null]) {
      const refused = refusal("offer", json({ ...offer, base }));
      expect(refused.code).toBe("name-invalid");
      expect(refused.message).toContain("offer.base");
    }
  });
});

describe("what running VMs need", () => {
  // [STREAM-1]
  test("is read back as it was written: HELLO and WELCOME of a stream, SEAL of streams", () => {
    const hello = { version: limits.version, role: "stream", software: "test", session } as const;
    const stream = { ...hello, laneToken: "aa".repeat(16), stream: 79, received: 2 ** 40 };
    expect(decodeMessage("hello", payloadOf(encodeMessage("hello", stream))).body).toEqual(stream);
    const welcome = { ...samples.welcome, received: 7 };
    expect(decodeMessage("welcome", payloadOf(encodeMessage("welcome", welcome))).body).toEqual(welcome);
    const seal = { digest, files: [], streams: [{ stream: 0, bytes: 5, digest }] };
    expect(decodeMessage("seal", payloadOf(encodeMessage("seal", seal))).body).toEqual(seal);
    for (const wrong of [{ stream: 80 }, { stream: 0.5 }, { received: -1 }, { received: 2 ** 53 }]) {
      expect(refusal("hello", json({ ...stream, ...wrong })).code).toBe("protocol");
    }
    expect(refusal("seal", json({ ...seal, streams: [{ stream: 0, digest }] })).code).toBe("protocol");
  });

  // [LIMIT-3]
  // [IMG-4]
  test("is how an image is made, which must be possible, and STARTED says that it was", () => {
    const started = { instance: "a".repeat(32), streamToken: "b".repeat(32), images: true };
    expect(decodeMessage("started", json(started)).body).toEqual(started);
    const withImage = (image: unknown) => ({
      ...offer,
      files: [],
      machine: { ...machine, disks: [{ ...machine.disks[0]!, image }] },
    });
    const image = { qcow2: usualQcow2 };
    expect(decodeMessage("offer", json(withImage(image))).body).toEqual(withImage(image));
    const falloc = refusal("offer", json(withImage({ preallocation: "falloc" })));
    expect([falloc.code, falloc.message]).toEqual(["protocol", expect.stringContaining("less room")]);
    expect(refusal("offer", json(withImage({ qcow2: {} }))).message).toContain("offer.machine.disks.0.image");
  });

  test("is a machine in OFFER, each of whose fields is looked at, with or without files", () => {
    for (const files of [[], offer.files.map((file) => ({ ...file, name: "kernel" }))]) {
      const body = { ...offer, files, machine };
      expect(decodeMessage("offer", payloadOf(encodeMessage("offer", body))).body).toEqual(body);
    }
    const refused = (change: Record<string, unknown>) =>
      refusal("offer", json({ ...offer, files: [], machine: { ...machine, ...change } }));
    for (const field of Object.keys(machine)) {
      expect(refused({ [field]: undefined }).message).toContain(`offer.machine.${field}`);
      expect(refused({ [field]: null }).code).toBe("protocol");
    }
    expect(refused({ definition: ["qemu-system-x86_64"] }).code).toBe("protocol");
    expect(refused({ definition: { x: "x".repeat(limits.modelBytes) } }).code).toBe("protocol");
    expect(refused({ channels: limits.ramStreams }).code).toBe("protocol");
    const [disk] = machine.disks;
    expect(refused({ disks: [{ ...disk, name: "../web1" }] }).code).toBe("name-invalid");
    expect(refused({ disks: [{ ...disk, bytes: limits.vmBytes + 1 }] }).code).toBe("limit");
    expect(refused({ disks: [disk, disk] }).code).toBe("name-invalid");
    expect(refused({ disks: [{ ...disk, name: "tpm" }] }).code).toBe("name-invalid");
    expect(refusal("offer", json({ ...offer, files: [] })).code).toBe("protocol");
  });
});

describe("a sentence about a message", () => {
  // [MSG-6]
  test("repeats neither control characters nor more than a line of what came", () => {
    const nasty = `\u001b[2J\u202e\u0085\n${"x".repeat(3000)}`;
    for (const payload of [
      json({ ...samples.hello, role: nasty }),
      json({ ...samples.hello, session: nasty }),
      json({ ...samples.hello, software: nasty }),
      Buffer.from(`{"version": "${"9".repeat(2000)}"}`),
      Buffer.from(nasty),
    ]) {
      const { message } = refusal("hello", payload);
      expect(message).toBe(printable(message));
      expect(message.length).toBeLessThan(250);
    }
    const { message } = refusal("offer", json({ ...offer, name: nasty }));
    expect(message).not.toContain("xxx");
  });

  test("about a size says what the most is", () => {
    const files = [{ ...offer.files[0]!, bytes: 2 ** 63 }];
    expect(refusal("offer", json({ ...offer, files }))).toMatchObject({ code: "limit" });
    expect(refusal("offer", json({ ...offer, files })).message).toContain(String(limits.vmBytes));
    expect(refusal("offer", json({ ...offer, chunkBytes: 1 }))).toMatchObject({ code: "protocol" });
  });
});

describe("an error for the peer", () => {
  const heardOf = (thrown: unknown) => {
    const message = decodeMessage("error", payloadOf(encodeError(thrown)));
    if (message.name !== "error") throw new Error("another message");
    return message.body;
  };

  // [ERR-1] [MSG-7]
  test("carries every code, and of our own bugs nothing but that", () => {
    for (const code of Object.keys(errorCodes) as ErrorCode[]) {
      expect(heardOf(new MigrateError(code, "in words")).code).toBe(code);
    }
    expect(heardOf(new TypeError("/secret/path is not a function"))).toEqual({
      code: "bug",
      message: "an internal error",
    });
  });

  // [MSG-7]
  test("says nothing of files and folders here", () => {
    for (const code of ["io", "store-unusable", "home-unusable", "vm-running", "source-changed"] as const) {
      const error = new MigrateError(code, "/srv/vm/web1.ram went away", {
        cause: new Error("/srv"),
        hint: "/srv",
      });
      expect(JSON.stringify(heardOf(error))).not.toContain("/srv");
    }
  });

  // [MSG-7] [MSG-6]
  test("can be received by anybody, whatever is in it and however long it is", () => {
    for (const text of ["x", '"\\', "\u0000\u001b", "é", "虚", "👩‍💻", "\ud800", "\u2028"]) {
      const frame = encodeError(new MigrateError("policy", text.repeat(3000)));
      expect(frame.length - limits.frameHeaderBytes).toBeLessThanOrEqual(payloadLimit("error", "stranger")!);
      const heard: string[] = [];
      new FrameDecoder("stranger", (name, payload) => {
        heard.push((decodeMessage(name as "error", payload).body as { message: string }).message);
      }).push(frame);
      expect(heard[0]).toBe(printable(heard[0]!));
      expect(Buffer.byteLength(heard[0]!)).toBeLessThanOrEqual(limits.errorTextBytes);
      expect(Buffer.byteLength(heard[0]!)).toBeGreaterThan(limits.errorTextBytes - 4);
    }
  });
});
