/** libvirt's packets are cut from a stream, however it is cut, and none is believed before its length is. */
import { describe, expect, test } from "bun:test";
import { buildPacket, headBytes, PacketCutter, packetBytes } from "../../../../src/vm/libvirt/rpc/packet.ts";
import {
  callPacket,
  keepalive,
  openArguments,
  packetsIn,
  sourceCalls,
} from "../../../support/libvirt/hostile/rpc-talk.ts";

describe("a packet", () => {
  test("has the bytes that libvirt 9.0 sent", () => {
    expect(Buffer.from(callPacket("AUTH_LIST", 0)).toString("hex")).toBe(
      "0000001c2000808600000001000000420000000000000000" + "00000000",
    );
    expect(Buffer.from(callPacket("CONNECT_OPEN", 2, openArguments())).toString("hex")).toBe(
      "000000382000808600000001000000010000000000000002" +
        "00000000" +
        "000000010000000e71656d753a2f2f2f73797374656d000000000000",
    );
    expect(Buffer.from(keepalive(1)).toString("hex")).toBe(
      "0000001c6b65657000000001000000010000000200000000" + "00000000",
    );
  });

  test("is read with its head and its payload", () => {
    expect(packetsIn([callPacket("CONNECT_OPEN", 2, openArguments())])).toEqual([
      {
        program: 0x20008086,
        version: 1,
        procedure: 1,
        type: 0,
        serial: 2,
        status: 0,
        payload: openArguments(),
      },
    ]);
  });
});

describe("a stream", () => {
  const whole = Buffer.concat(sourceCalls);

  test("gives the same packets, cut at every byte and coalesced", () => {
    const expected = packetsIn([whole]);
    expect(expected.length).toBe(sourceCalls.length);
    expect(packetsIn([...whole].map((byte) => Uint8Array.of(byte)))).toEqual(expected);
    for (let at = 0; at <= whole.length; at += 1)
      expect(packetsIn([whole.subarray(0, at), whole.subarray(at)]).length).toBe(expected.length);
  });

  test("that is held is no larger than its packet", () => {
    const cutter = new PacketCutter();
    expect([...cutter.take(whole.subarray(0, 3))]).toEqual([]);
    expect(cutter.heldBytes).toBe(3);
    expect([...cutter.take(whole.subarray(3, 5))]).toEqual([]);
    expect(cutter.heldBytes).toBe(5);
  });

  const head = (length: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(length);
    return bytes;
  };
  for (const length of [0, 4, headBytes - 1, packetBytes + 1, 0x7fff_ffff, 0xffff_ffff]) {
    test(`with a length of ${length} is refused by its length alone`, () => {
      for (const pieces of [[head(length)], [...head(length)].map((byte) => Uint8Array.of(byte))])
        expect(() => packetsIn(pieces)).toThrow(/shorter than its head|more than \d+ bytes/);
    });
  }

  test("may have a packet as long as the limit", () => {
    const longest = buildPacket(
      packetsIn([callPacket("AUTH_LIST", 0)])[0]!,
      new Uint8Array(packetBytes - headBytes),
    );
    expect(packetsIn([longest])[0]?.payload.length).toBe(packetBytes - headBytes);
  });
});
