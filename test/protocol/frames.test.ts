import { afterEach, describe, expect, mock, test } from "bun:test";
import { MigrateError } from "../../src/protocol/errors.ts";
import {
  encodeFrame,
  FrameDecoder,
  type FrameName,
  frameName,
  frameTypes,
  payloadLimit,
  type Standing,
  writeFrameHeader,
} from "../../src/protocol/frames.ts";
import { chunkBodyBytes, limits } from "../../src/protocol/limits.ts";
import { allocations } from "./allocations.ts";
import { standings } from "./standings.ts";

afterEach(() => mock.restore());

function collecting(standing: Standing): { decoder: FrameDecoder; heard: [FrameName, string][] } {
  const heard: [FrameName, string][] = [];
  const decoder = new FrameDecoder(standing, (name, payload) => heard.push([name, payload.toString()]));
  return { decoder, heard };
}

function header(type: number, length: number): Buffer {
  const bytes = Buffer.alloc(limits.frameHeaderBytes);
  writeFrameHeader(bytes, type, length);
  return bytes;
}

describe("frame types", () => {
  test("have a number and a name each, and numbers without a name are none", () => {
    for (const [name, type] of Object.entries(frameTypes)) expect(frameName(type)).toBe(name as FrameName);
    expect(new Set(Object.values(frameTypes)).size).toBe(Object.keys(frameTypes).length);
    for (const type of [0, 54, 255, 256, -1, 1.5]) expect(frameName(type)).toBeUndefined();
  });

  // [FRAME-3] [STAND-6]
  test("may come from nobody in more bytes than the largest chunk has", () => {
    const most = limits.chunkHeaderBytes + chunkBodyBytes;
    for (const name of Object.keys(frameTypes) as FrameName[]) {
      for (const standing of standings) {
        expect(payloadLimit(name, standing) ?? 0).toBeLessThanOrEqual(most);
      }
    }
  });

  // [STAND-3]
  test("that decide about a VM come on a control connection alone, and those with its bytes never there", () => {
    for (const name of [
      "offer",
      "seal",
      "release",
      "publish",
      "confirm",
      "cancel",
      "owned",
      "ready",
      "start",
      "started",
    ] as const) {
      for (const standing of standings) {
        if (standing !== "control") expect(payloadLimit(name, standing)).toBeNull();
      }
    }
    for (const name of ["chunk", "ack", "describe", "want", "data", "dataAck", "dataEnd"] as const) {
      expect(payloadLimit(name, "control")).toBeNull();
      expect(payloadLimit(name, "stranger")).toBeNull();
    }
  });
});

describe("a decoder", () => {
  test("hands on every frame of one read, and of many", () => {
    const stream = Buffer.concat([
      encodeFrame(frameTypes.ping, Buffer.from("one")),
      encodeFrame(frameTypes.pong, Buffer.alloc(0)),
      encodeFrame(frameTypes.error, Buffer.from("three")),
    ]);
    const expected: [FrameName, string][] = [
      ["ping", "one"],
      ["pong", ""],
      ["error", "three"],
    ];
    for (let size = 1; size <= stream.length; size++) {
      const { decoder, heard } = collecting("stranger");
      for (let at = 0; at < stream.length; at += size) decoder.push(stream.subarray(at, at + size));
      expect(heard).toEqual(expected);
      expect(decoder.atBoundary).toBe(true);
    }
  });

  // [FRAME-5]
  test("knows whether it stands between two frames", () => {
    const { decoder } = collecting("stranger");
    const frame = encodeFrame(frameTypes.ping, Buffer.from("{}"));
    for (const [at, byte] of frame.entries()) {
      expect(decoder.atBoundary).toBe(at === 0);
      decoder.push(Buffer.of(byte));
    }
    expect(decoder.atBoundary).toBe(true);
  });

  test("copies a frame that comes in parts: what the reads were in may be used again", () => {
    const { decoder, heard } = collecting("stranger");
    const frame = encodeFrame(frameTypes.ping, Buffer.from("payload"));
    const read = Buffer.alloc(4);
    for (let at = 0; at < frame.length; at += read.length) {
      const taken = frame.copy(read, 0, at, at + read.length);
      decoder.push(read.subarray(0, taken));
      read.fill(0xff);
    }
    expect(heard).toEqual([["ping", "payload"]]);
  });

  test("does not mix what is left of a long frame into a shorter one", () => {
    const { decoder, heard } = collecting("stranger");
    for (const text of ["a long payload", "short"]) {
      const frame = encodeFrame(frameTypes.ping, Buffer.from(text));
      decoder.push(frame.subarray(0, 7));
      decoder.push(frame.subarray(7));
    }
    expect(heard.map(([, text]) => text)).toEqual(["a long payload", "short"]);
  });

  test("goes by the standing that holds when the frame's header comes", () => {
    const { decoder, heard } = collecting("stranger");
    const offer = encodeFrame(frameTypes.offer, Buffer.from("{}"));
    decoder.push(encodeFrame(frameTypes.ping, Buffer.from("{}")));
    decoder.standing = "control";
    decoder.push(offer);
    expect(heard.map(([name]) => name)).toEqual(["ping", "offer"]);
    decoder.standing = "lane-destination";
    expect(() => decoder.push(offer)).toThrow("offer frame is not expected here");
  });

  // [FRAME-3]
  test("takes no room before a length is found to be allowed", () => {
    const { decoder } = collecting("control");
    const refused = header(frameTypes.offer, 0xf000_0000);
    const allowed = header(frameTypes.offer, limits.controlPayloadBytes);
    const asked = allocations();
    expect(() => decoder.push(refused)).toThrow(MigrateError);
    expect(asked.largest()).toBeLessThan(1024);
    // Nor for one that is allowed, before a byte of it has come.
    const { decoder: other } = collecting("control");
    other.push(allowed);
    expect(asked.largest()).toBeLessThan(1024);
    other.push(Buffer.of(0));
    expect(asked.largest()).toBe(limits.controlPayloadBytes);
  });

  test("keeps nothing of a frame that lies whole in one read", () => {
    const payloads: Buffer[] = [];
    const decoder = new FrameDecoder("stranger", (_, payload) => payloads.push(payload));
    const frame = encodeFrame(frameTypes.ping, Buffer.from("whole"));
    decoder.push(frame);
    frame.write("WHOLE", limits.frameHeaderBytes);
    expect(payloads[0]?.toString()).toBe("WHOLE");
  });

  test("lets what the sink throws through", () => {
    const decoder = new FrameDecoder("stranger", () => {
      throw new RangeError("the sink's own");
    });
    expect(() => decoder.push(encodeFrame(frameTypes.ping, Buffer.from("{}")))).toThrow("the sink's own");
  });
});
