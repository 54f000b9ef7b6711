/** A unix socket of this host (unix(7)): a destination listens on it, or something that carries the bytes to one. */
import type { UnixAddress } from "../address.ts";
import type { Transport } from "./transport.ts";

/** Longer paths than the 107 bytes of sun_path are no matter: Bun reaches them through their folder. */
export function unix({ unix: path, name }: UnixAddress): Transport {
  return { remote: name, connect: (connecting) => Bun.connect({ unix: path, ...connecting }) };
}
