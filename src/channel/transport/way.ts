/** Which transport leads to an address. */
import type { Address } from "../address.ts";
import { tcp } from "./tcp.ts";
import type { Transport } from "./transport.ts";
import { unix } from "./unix.ts";

export function wayTo(address: Address): Transport {
  return "unix" in address ? unix(address) : tcp(address);
}
