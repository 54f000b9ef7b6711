/** What the kernel has sent on a TCP connection, and what of it has arrived: tcp(7), TCP_INFO of linux/tcp.h. */
import { getsockopt } from "./libc.ts";

const IPPROTO_TCP = 6;
const TCP_INFO = 11;
/** struct tcp_info up to tcpi_notsent_bytes (Linux 4.6); a kernel that knows more fills no more than this. */
const infoBytes = 148;
const unackedAt = 24;
const bytesAckedAt = 120;
const notSentAt = 144;

export interface TcpSending {
  /** Bytes that the other host's kernel has acknowledged since the connection was made. */
  acknowledgedBytes: number;
  /** True if packets are on their way that were not acknowledged. */
  isUnderway: boolean;
  /** Bytes that wait here: behind those packets, or because the other host has no room for them. */
  waitingBytes: number;
}

/** Returns null if the descriptor is no TCP connection, or the kernel does not tell. */
export function tcpSending(fd: number): TcpSending | null {
  const info = new Uint8Array(infoBytes);
  if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, info) < 0) return null;
  const view = new DataView(info.buffer);
  return {
    acknowledgedBytes: Number(view.getBigUint64(bytesAckedAt, true)),
    isUnderway: view.getUint32(unackedAt, true) > 0,
    waitingBytes: view.getUint32(notSentAt, true),
  };
}
