/**
 * A tap device for a VM's network card, on a bridge of this host: what qemu-bridge-helper does, so that QEMU
 * needs neither the right to do it nor the helper. The device is there as long as its descriptor is open.
 * Linux Documentation/networking/tuntap.rst; netdevice(7); linux/sockios.h.
 */
import { ptr } from "bun:ffi";
import { closeSync, constants, openSync } from "node:fs";
import { close, ioctl, socket, systemError } from "../libc.ts";
import { attempt } from "./kernel.ts";

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

/** dup3(2): `fd` is `number` from here on. */
export function moveDescriptor(fd: number, number: number): void {
  const O_CLOEXEC = 0o2000000;
  const answer = attempt("dup3", fd, number, O_CLOEXEC);
  if (answer < 0) throw systemError("dup3", answer);
  closeSync(fd);
}
