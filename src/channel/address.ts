/** Where a destination is reached, as a person writes it, and where it listens. Pure. */
import { MigrateError } from "../protocol/errors.ts";

export interface TcpAddress {
  host: string;
  port: number;
  /** What the destination is called instead, if it was asked for by another name (`ssh://hostb`). */
  name?: string;
}

/**
 * A unix socket of this host that leads to a destination, be it on this host or through something that carries its
 * bytes to another. `name` is what people, the journal and the trust file call the destination: the socket may be
 * another one each time.
 */
export interface UnixAddress {
  unix: string;
  name: string;
}

/** Data alone: it crosses to Workers. */
export type Address = TcpAddress | UnixAddress;

/** Where a destination listens: a TCP port (0 takes a free one), or the path of a unix socket. Data alone. */
export type ListenAddress = TcpAddress | { unix: string };

/** What a unix socket of no other name is called by: this, and its path behind it. */
export const unixPrefix = "unix:";

/** The name of a TCP address is host:port, as sentences name a destination; IPv6 in brackets (RFC 3986 section 3.2.2). */
export function addressText(address: Address): string {
  return address.name ?? tcpText(address as TcpAddress);
}

/** The same of a place where one listens: host:port, or unix:PATH. */
export function listenText(address: ListenAddress): string {
  return "unix" in address ? `${unixPrefix}${address.unix}` : tcpText(address);
}

/**
 * The reverse of `addressText`, for what this program wrote itself: nothing is checked. Throws MigrateError "network"
 * for the name of a destination to which no way leads but one that somebody opens for it (`ssh://hostb`).
 */
export function parseAddressText(text: string): Address {
  if (text.startsWith(unixPrefix)) return { unix: text.slice(unixPrefix.length), name: text };
  if (text.includes("://")) {
    throw new MigrateError("network", `no way to ${text} is open`, {
      hint: "the command that began the move opens it: give it again",
    });
  }
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
}

function tcpText({ host, port }: TcpAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
