/** unix:PATH, where HOST:PORT is taken as well. */
import { resolve } from "node:path";
import { type Address, type ListenAddress, listenText, unixPrefix } from "../../channel/address.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { address, defaultPort } from "./option.ts";

/** Where to listen. Throws MigrateError "usage"; its message ends a sentence that begins with the flag. */
export function listenAddress(text: string): ListenAddress {
  return unixAddress(text) ?? address(0, defaultPort)(text);
}

/** Where a destination is reached. Throws MigrateError "usage"; its message ends a sentence that begins with what it is. */
export function destinationAddress(text: string): Address {
  const unix = unixAddress(text);
  return unix === null ? address(1, defaultPort)(text) : { ...unix, name: listenText(unix) };
}

function unixAddress(text: string): { unix: string } | null {
  if (!text.startsWith(unixPrefix)) return null;
  const path = text.slice(unixPrefix.length);
  if (path === "" || path.includes("\0"))
    throw new MigrateError("usage", "must have the path of a socket behind unix:");
  return { unix: resolve(path) };
}
