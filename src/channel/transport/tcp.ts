/** TCP, straight to a host and a port. */
import type { TcpAddress } from "../address.ts";
import type { Transport } from "./transport.ts";

export function tcp({ host, port }: TcpAddress): Transport {
  return { connect: (connecting) => Bun.connect({ hostname: host, port, ...connecting }) };
}
