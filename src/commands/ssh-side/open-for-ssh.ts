/** Finds the serve of a store, or starts one for those who come by ssh; and ends one that was started so. */
import { existsSync, lstatSync } from "node:fs";
import { join } from "node:path";
import { listenText, unixPrefix } from "../../channel/address.ts";
import { withHomeLock } from "../../home/home-file.ts";
import { type LastServe, lastServe, serveWords } from "../../home/last-serve.ts";
import { everywhere } from "../../migration/destination/serving/reachable.ts";
import { askTicket, serveOf } from "../../migration/operator/ask-serve.ts";
import { providersUnderWay } from "../../migration/operator/status.ts";
import { MigrateError } from "../../protocol/errors.ts";
import type { SideOpened } from "../../ssh/side-answer.ts";
import { usualStore } from "../../ssh/side-rights.ts";
import { checkStore } from "../../vm/folder/store.ts";
import { defaultPort } from "../cli/option.ts";
import { startOneTimeServe } from "./one-time-serve.ts";
import { callerOf, handOver, waySocket } from "./way-socket.ts";

export interface SshWishes {
  self: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  home: string;
  /** Absent: what this host's serve was last given, else the usual one. */
  store: string | undefined;
  qemu: boolean;
  libvirt: boolean;
  attest: boolean;
  tcp: boolean;
  /** Where there is no store none is made. */
  onlyIfThere: boolean;
  idleMs: number;
}

/** A ticket is shown as soon as it has come by ssh. */
const ticketTtlMs = 5 * 60_000;
/** As long as a serve may take to start. */
const startPatienceMs = 60_000;
/** Where it listens, if that is free: a firewall may let the first port through and no other. */
const ports = [defaultPort, 0];

/** Throws MigrateError: what keeps a serve from starting, or a VM from being received here. */
export async function openForSsh(wishes: SshWishes): Promise<Omit<SideOpened, "answer">> {
  const { home, env } = wishes;
  const last = lastServe(home);
  const store = wishes.store ?? last?.store ?? usualStore;
  const socket = waySocket(home, store);
  // Of two that come at once one starts it, and the other finds it.
  const found = await withHomeLock(
    join(home, "ssh.lock"),
    async () => {
      if ((await serveOf(home, store)) !== null) return true;
      if (wishes.onlyIfThere && !existsSync(store)) throw noStore(store);
      checkStore(store);
      await start(wishes, store, socket, last);
      return false;
    },
    startPatienceMs,
  );
  const { addresses, fingerprint, ticket } = await askTicket(home, { store, ttlMs: ticketTtlMs });
  if (fingerprint === null) {
    throw new MigrateError(
      "policy",
      `the serve of ${store} runs with --insecure, and ssh's is not carried so`,
      {
        side: "destination",
        hint: "End it there, or send to its port with --insecure.",
      },
    );
  }
  const tcp = addresses.flatMap((text) => {
    const [, host, port] = /^\[?([^[\]]+?)\]?:(\d{1,5})$/.exec(text.startsWith(unixPrefix) ? "" : text) ?? [];
    return host === undefined ? [] : [{ host, port: Number(port) }];
  });
  const way = wayOf(addresses, socket);
  if (way === null) {
    throw new MigrateError("policy", `the serve of ${store} listens where no ssh leads`, {
      side: "destination",
      hint: "End it there, or start it with --listen on a port as well.",
    });
  }
  if (way === socket) handOver(socket, callerOf(env));
  // A link-local address holds on one link, and its zone on one host.
  const plain = tcp.filter(({ host }) => !host.includes("%"));
  return { store, way, tcp: plain.slice(0, 16), fingerprint, ticket, found };
}

function noStore(store: string): MigrateError {
  return new MigrateError("store-unusable", `there is no folder ${store}, so no VM is on its way to it`, {
    side: "destination",
    hint: "Name the folder that the VMs were sent to: ssh://HOST/STORE.",
  });
}

/** The socket for ssh if it listens on that, else one of its TCP addresses, as this host itself reaches it. */
function wayOf(addresses: readonly string[], socket: string): string | null {
  if (addresses.includes(`${unixPrefix}${socket}`)) return socket;
  return addresses.find((text) => !text.startsWith(unixPrefix)) ?? null;
}

async function start(
  wishes: SshWishes,
  store: string,
  socket: string,
  last: LastServe | null,
): Promise<void> {
  const { self, home, qemu, libvirt, attest, tcp, idleMs } = wishes;
  const usual: LastServe = {
    ...{ store, qemu: false, allowTcg: false, net: null, vmUsers: null, vnc: null },
    ...{ libvirt: false, connect: null, netMap: null, attest: false, requireAttestation: false },
  };
  const given = last ?? usual;
  // What was begun with such a serve goes on with such a one, whatever this caller needs.
  const underWay = providersUnderWay(home, store);
  const words = serveWords({
    ...given,
    store,
    qemu: given.qemu || qemu || underWay.includes("qemu"),
    libvirt: given.libvirt || libvirt || underWay.includes("libvirt"),
    attest: given.attest || attest,
  });
  for (const port of tcp ? ports : [null]) {
    const listen = [`${unixPrefix}${socket}`, ...(port === null ? [] : [listenText(everywhere(port))])];
    try {
      return await startOneTimeServe({ self, home, words, listen, idleMs });
    } catch (thrown) {
      // Another serve, of another store, may have the usual port.
      const isTaken = thrown instanceof MigrateError && thrown.code === "port-in-use";
      if (!isTaken || port === null || port === ports.at(-1)) throw thrown;
    }
  }
}

/**
 * Ends the serve of this store if it was started for those who come by ssh, and has no session: one that is under way may
 * be another source's. Throws MigrateError "busy" if it has one, unless it is to end only if it is idle (`isIdle`).
 */
export async function endOneTimeServe(
  home: string,
  asked: string | undefined,
  isIdle: boolean,
): Promise<void> {
  const store = asked ?? lastServe(home)?.store ?? usualStore;
  const serve = await serveOf(home, store);
  const socket = waySocket(home, store);
  if (serve === null || !serve.addresses.includes(`${unixPrefix}${socket}`)) return;
  if (serve.sessions > 0) {
    if (isIdle) return;
    const said = `the serve of ${store} has ${serve.sessions} sessions that have not ended`;
    throw new MigrateError("busy", said, { side: "destination", hint: "It ends by itself." });
  }
  process.kill(serve.pid, "SIGTERM");
  const lateAtMs = performance.now() + endMs;
  while (lstatSync(join("/proc", String(serve.pid)), { throwIfNoEntry: false }) !== undefined) {
    if (performance.now() > lateAtMs) return;
    await Bun.sleep(endLookMs);
  }
}

const endMs = 10_000;
const endLookMs = 50;
