/** Which addresses are taken for one host's, and how they are written. Pure. */

/** An IPv4 address as a socket of both families tells it (RFC 4291 section 2.5.5.2). */
const mapped = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i;

/** The address of a connection as people write it: an IPv4 one without what a socket of both families puts before it. */
export function plainAddress(address: string): string {
  return mapped.exec(address)?.[1] ?? address;
}

/**
 * Returns the group of a remote address: an IPv4 address is one by itself, also as "::ffff:192.0.2.7"; of an
 * IPv6 address the first 64 bits count, since a host has all that follow (RFC 7707 section 3, RFC 4291 section
 * 2.5.1). What is no address is a group by itself.
 */
export function addressGroup(address: string): string {
  const plain = address.replace(/%.*$/, "").toLowerCase();
  const v4 = /^(?:0*:)*:?(?:0{1,4}:)*ffff:(\d{1,3}(?:\.\d{1,3}){3})$/.exec(plain)?.[1];
  if (v4 !== undefined) return v4;
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::");
  const groups = (text: string) => (text === "" ? [] : text.split(":"));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  // A dotted end counts as two groups.
  const dotted = after.concat(before).some((group) => group.includes(".")) ? 1 : 0;
  const zeros = Math.max(0, 8 - before.length - after.length - dotted);
  const all = [...before, ...Array<string>(zeros).fill("0"), ...after];
  const network = all.slice(0, 4).map((group) => group.replace(/^0+(?=.)/, ""));
  return `${network.join(":")}::/64`;
}
