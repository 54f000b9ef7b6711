/**
 * A tap device for a VM's network card, on a bridge of this host, so that QEMU needs neither the right to make it
 * nor the helper that has it. The device is there as long as its descriptor is open.
 * Linux Documentation/networking/tuntap.rst; netdevice(7); linux/sockios.h.
 */
import { ptr } from "bun:ffi";
import { closeSync, constants, openSync } from "node:fs";
import { close, ioctl, socket, systemError } from "../libc.ts";
import { call } from "./kernel.ts";

const TUNSETIFF = 0x400454ca;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFMTU = 0x8921;
const SIOCSIFMTU = 0x8922;
const SIOCSIFHWADDR = 0x8924;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;
const SIOCBRADDIF = 0x89a2;
const IFF_UP = 1;
/** struct ifreq: a name of 16 bytes, then a union. */
const requestBytes = 40;
const nameBytes = 16;
/** struct sockaddr in it: the family, then the address. */
const addressAt = nameBytes + 2;
const [AF_INET, SOCK_DGRAM, SOCK_CLOEXEC] = [2, 2, 0o2000000];

class Request {
  readonly bytes = Buffer.alloc(requestBytes);

  constructor(readonly name: string) {
    this.bytes.write(name, 0, nameBytes - 1, "latin1");
  }

  /** Throws a SystemError. */
  ask(fd: number, request: number, what: string): this {
    const answer = ioctl(fd, request, ptr(this.bytes));
    if (answer < 0) throw systemError(`${what} ${this.name}`, answer);
    return this;
  }
}

/**
 * Makes a tap device that is a port of `bridge`, and returns its descriptor (close-on-exec). Needs CAP_NET_ADMIN.
 * Throws a SystemError: ENODEV if there is no such bridge, EPERM.
 */
export function openTap(bridge: string): number {
  const fd = openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK | SOCK_CLOEXEC);
  const control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  try {
    if (control < 0) throw systemError("socket", control);
    const made = new Request("migrate%d");
    made.bytes.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, nameBytes);
    made.ask(fd, TUNSETIFF, "TUNSETIFF");
    const name = made.bytes.toString("latin1", 0, made.bytes.indexOf(0));
    const mtu = new Request(bridge).ask(control, SIOCGIFMTU, "SIOCGIFMTU").bytes.readInt32LE(nameBytes);
    const sized = new Request(name);
    sized.bytes.writeInt32LE(mtu, nameBytes);
    sized.ask(control, SIOCSIFMTU, "SIOCSIFMTU");
    // A bridge takes the lowest address of its ports for its own: ours must not be that.
    const addressed = new Request(name).ask(control, SIOCGIFHWADDR, "SIOCGIFHWADDR");
    addressed.bytes.writeUInt8(0xfe, addressAt);
    addressed.ask(control, SIOCSIFHWADDR, "SIOCSIFHWADDR");
    const index = new Request(name).ask(control, SIOCGIFINDEX, "SIOCGIFINDEX").bytes.readInt32LE(nameBytes);
    const port = new Request(bridge);
    port.bytes.writeInt32LE(index, nameBytes);
    port.ask(control, SIOCBRADDIF, "SIOCBRADDIF");
    const up = new Request(name).ask(control, SIOCGIFFLAGS, "SIOCGIFFLAGS");
    up.bytes.writeUInt16LE(up.bytes.readUInt16LE(nameBytes) | IFF_UP, nameBytes);
    up.ask(control, SIOCSIFFLAGS, "SIOCSIFFLAGS");
    return fd;
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  } finally {
    if (control >= 0) close(control);
  }
}

/** unix(7), SCM_RIGHTS; struct msghdr, struct iovec and struct cmsghdr of 64-bit Linux. */
const [AF_UNIX, SOCK_STREAM, SOL_SOCKET, SCM_RIGHTS] = [1, 1, 1, 1];
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x40000000;
const controlBytes = 24;
const descriptorAt = 16;
const helperMs = 5000;

/**
 * As `openTap` for who may not do it: has QEMU's helper (qemu-bridge-helper, with the setuid bit) make the device
 * and hand it over. Throws an Error with what the helper said, such as that its bridge.conf does not allow it.
 */
export function askHelperForTap(helper: string, bridge: string): number {
  const pair = new Int32Array(2);
  call("socketpair", AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, new Uint8Array(pair.buffer));
  const [ours = -1, theirs = -1] = pair;
  try {
    const child = Bun.spawnSync([helper, "--use-vnet", `--br=${bridge}`, "--fd=3"], {
      stdio: ["ignore", "ignore", "pipe", theirs],
      env: {},
      cwd: "/",
      timeout: helperMs,
    });
    if (child.exitCode !== 0) throw new Error(child.stderr.toString().trim() || `${helper} failed`);
    return receiveDescriptor(ours);
  } finally {
    close(ours);
    close(theirs);
  }
}

/** The descriptor that came with one byte. */
function receiveDescriptor(fd: number): number {
  const byte = new Uint8Array(1);
  const control = new Uint8Array(controlBytes);
  const pointer = (bytes: Uint8Array) => BigInt(ptr(bytes));
  const vector = new Uint8Array(BigUint64Array.of(pointer(byte), 1n).buffer);
  const header = BigUint64Array.of(0n, 0n, pointer(vector), 1n, pointer(control), BigInt(controlBytes), 0n);
  call("recvmsg", fd, new Uint8Array(header.buffer), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const view = new DataView(control.buffer);
  if (view.getInt32(8, true) !== SOL_SOCKET || view.getInt32(12, true) !== SCM_RIGHTS) {
    throw new Error("QEMU's bridge helper handed nothing over");
  }
  return view.getInt32(descriptorAt, true);
}
