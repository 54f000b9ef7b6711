/**
 * A neighbour of a guest, on a network interface of this namespace: `bun ping-guest.ts INTERFACE OWN-IP GUEST-IP GUEST-MAC`.
 * Every 10 ms it sends an echo request (RFC 792) to the guest's MAC address, wherever the switches think that is, and
 * captures all that comes (packet(7)). It writes a line of JSON for each answer and each announcement of the guest's, with
 * the time in milliseconds since 1970, until it is killed.
 */
import { dlopen, ptr } from "bun:ffi";
import { readFileSync, writeSync } from "node:fs";

const { symbols: libc } = dlopen("libc.so.6", {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  send: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
});

const AF_PACKET = 17;
const SOCK_RAW = 3;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
/** linux/if_ether.h */
const ETH_P_ALL = 3;
const types = { ip: 0x0800, arp: 0x0806, reverseArp: 0x8035 } as const;
const everyMs = 10;
const identifier = 0x4d47;

const [device = "", ownIp = "", guestIp = "", guestMac = ""] = process.argv.slice(2);
const sys = (name: string) => readFileSync(`/sys/class/net/${device}/${name}`, "latin1").trim();
const macOf = (text: string) => Buffer.from(text.replaceAll(":", ""), "hex");
const ipOf = (text: string) => Buffer.from(text.split(".").map(Number));
const [own, guest] = [
  { mac: macOf(sys("address")), ip: ipOf(ownIp) },
  { mac: macOf(guestMac), ip: ipOf(guestIp) },
];
const tell = (line: object) => writeSync(1, `${JSON.stringify({ ...line, atMs: Date.now() })}\n`);

/** The Internet checksum (RFC 1071) of an even number of bytes. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function ethernet(to: Buffer, type: number, payload: Buffer): Buffer {
  const head = Buffer.concat([to, own.mac, Buffer.of(type >>> 8, type & 0xff)]);
  return Buffer.concat([head, payload, Buffer.alloc(Math.max(0, 46 - payload.length))]);
}

function echoRequest(sequence: number): Buffer {
  const icmp = Buffer.alloc(16);
  icmp.writeUInt8(8, 0);
  icmp.writeUInt16BE(identifier, 4);
  icmp.writeUInt16BE(sequence & 0xffff, 6);
  icmp.writeUInt16BE(checksum(icmp), 2);
  const head = Buffer.from("4500000000000000400100000000000000000000", "hex");
  head.writeUInt16BE(head.length + icmp.length, 2);
  head.set(own.ip, 12);
  head.set(guest.ip, 16);
  head.writeUInt16BE(checksum(head), 10);
  return ethernet(guest.mac, types.ip, Buffer.concat([head, icmp]));
}

/** The guest asks whose our address is before it answers (RFC 826). */
function arpReply(request: Buffer): Buffer {
  const asker = request.subarray(22, 32);
  return ethernet(
    guest.mac,
    types.arp,
    Buffer.concat([Buffer.from("0001080006040002", "hex"), own.mac, own.ip, asker]),
  );
}

const fd = libc.socket(AF_PACKET, SOCK_RAW, ETH_P_ALL << 8);
const address = Buffer.alloc(20);
address.writeUInt16LE(AF_PACKET, 0);
address.writeUInt16BE(ETH_P_ALL, 2);
address.writeInt32LE(Number(sys("ifindex")), 4);
if (fd < 0 || libc.bind(fd, ptr(address), address.length) < 0)
  throw new Error(`${device} cannot be captured`);
const send = (frame: Buffer) => libc.send(fd, ptr(frame), frame.length, MSG_DONTWAIT);

const room = Buffer.alloc(2048);
function take(frame: Buffer): void {
  const type = frame.readUInt16BE(12);
  if (!frame.subarray(6, 12).equals(guest.mac)) return;
  if (type === types.reverseArp) tell({ what: "announcement" });
  else if (type === types.arp && frame.readUInt16BE(20) === 1 && frame.subarray(38, 42).equals(own.ip))
    send(arpReply(frame));
  else if (type === types.ip && frame[23] === 1 && frame[34] === 0 && frame.readUInt16BE(38) === identifier)
    tell({ what: "answer", sequence: frame.readUInt16BE(40) });
}

const waiting = Buffer.alloc(8);
waiting.writeInt32LE(fd, 0);
waiting.writeInt16LE(POLLIN, 4);
let [sequence, nextMs] = [0, performance.now()];
for (;;) {
  const leftMs = nextMs - performance.now();
  if (leftMs <= 0) {
    sequence += 1;
    send(echoRequest(sequence));
    nextMs = Math.max(nextMs + everyMs, performance.now());
    continue;
  }
  if (libc.poll(ptr(waiting), 1, Math.ceil(leftMs)) <= 0) continue;
  for (;;) {
    const length = Number(libc.recv(fd, ptr(room), room.length, MSG_DONTWAIT));
    if (length < 42) break;
    take(room.subarray(0, length));
  }
}
