/** Where a destination is reached, as a person writes it. Pure. */

/** Data alone: it crosses to Workers. */
export interface Address {
  host: string;
  port: number;
}

/** host:port, as sentences name a destination; IPv6 in brackets (RFC 3986 section 3.2.2). */
export function addressText({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The reverse of `addressText`, for what this program wrote itself: nothing is checked. */
export function parseAddressText(text: string): Address {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
}
