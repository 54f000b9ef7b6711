/** Where the doors of a destination are to listen: made sure of before any of them does, by the main thread. */
import { type ListenAddress, listenText } from "../../channel/address.ts";
import { removerOf, SocketClaims } from "../../platform/unix-place.ts";
import { MigrateError } from "../../protocol/errors.ts";

export interface Reserved {
  /** In the order that was asked for; a port 0 has become the one that was free. */
  places: ListenAddress[];
  /** All doors that listen do so now. */
  taken(): void;
  /** Removes the sockets that `taken` has found, or lets go of what was reserved. Never throws. */
  release(): void;
}

/**
 * The doors share a port with each other (SO_REUSEPORT), and would share it with a second serve of the same user as
 * well: so each is tried alone first, once. Throws MigrateError "port-in-use".
 */
export async function reserve(asked: readonly ListenAddress[]): Promise<Reserved> {
  const claims = new SocketClaims();
  const removers: (() => void)[] = [];
  const places: ListenAddress[] = [];
  try {
    for (const place of asked) {
      try {
        if ("unix" in place) await claims.claim(place.unix);
        places.push("unix" in place ? place : { ...place, port: freePort(place.host, place.port) });
      } catch (thrown) {
        throw listenFailure(place, thrown as NodeJS.ErrnoException);
      }
    }
  } catch (thrown) {
    claims.release();
    throw thrown;
  }
  return {
    places,
    taken() {
      for (const place of places) if ("unix" in place) removers.push(removerOf(place.unix));
      claims.release();
    },
    release() {
      claims.release();
      for (const remove of removers.splice(0)) remove();
    },
  };
}

function freePort(hostname: string, port: number): number {
  const probe = Bun.listen({ hostname, port, exclusive: true, socket: { data() {} } });
  const taken = probe.port;
  probe.stop(true);
  return taken;
}

/** What a failure to listen means, in words. */
export function listenFailure(
  place: ListenAddress,
  error: { code?: string | undefined; message: string },
): MigrateError {
  const refusal = (message: string, hint?: string) =>
    new MigrateError("port-in-use", message, { side: "destination", hint });
  if ("unix" in place) {
    const at = listenText(place);
    if (error.code === "EADDRINUSE")
      return refusal(
        `somebody listens on ${at} already`,
        "another migrate serve, perhaps; choose another path with --listen unix:PATH",
      );
    if (error.code === "EEXIST")
      return refusal(`${at} is no socket`, "move away what stands there, or choose another path");
    return refusal(`cannot listen on ${at}: ${error.message}`);
  }
  if (error.code === "EADDRINUSE")
    return refusal(
      `port ${place.port} of ${place.host} is in use`,
      "another migrate serve, perhaps; choose a port with --listen HOST:PORT",
    );
  if (error.code === "EACCES") return refusal(`port ${place.port} of ${place.host} needs root`);
  return refusal(`cannot listen on ${listenText(place)}: ${error.message}`);
}
