/** Another host that is reached by ssh, for the commands that take HOST:PORT. */

import { loadHostIdentity } from "../../attestation/host-identity.ts";
import type { Address } from "../../channel/address.ts";
import type { Way } from "../../channel/transport/made-way.ts";
import { asksForProofs, providersSentTo } from "../../migration/operator/status.ts";
import type { RootNeed } from "../../ssh/side-rights.ts";
import { isSshAddress, parseSshAddress, type SshAddress, sshAddressText } from "../../ssh/ssh-address.ts";
import { SshWay } from "../../ssh/ssh-way.ts";
import type { Reporter } from "../../terminal/reporter.ts";
import type { World } from "./context.ts";
import { oneOf, optional, toggle } from "./option.ts";
import { destinationAddress } from "./unix-address.ts";

/** The flags of a command that may go by ssh. */
export const sshOptions = {
  via: optional(
    "direct|ssh",
    "To ssh://HOST: how the VM's bytes go there (default: directly if its port can be reached, else through ssh)",
    oneOf(["direct", "ssh"]),
  ),
  leaveNothing: toggle("To ssh://HOST: remove what was copied there when the command ends"),
};

/** A host as a person named it: reached at an address, or by ssh. */
export type Called = { address: Address; ssh?: undefined } | { ssh: SshAddress };

/** HOST:PORT, unix:PATH or ssh://…. Throws MigrateError "usage"; its message ends a sentence that begins with what it is. */
export function calledHost(text: string): Called {
  return isSshAddress(text) ? { ssh: parseSshAddress(text) } : { address: destinationAddress(text) };
}

export interface SshHostOptions {
  home: string;
  /** What the VM needs there; absent for a question, which is asked of whom the VMs were sent to. */
  needs?: RootNeed | undefined;
  via?: "direct" | "ssh" | undefined;
  leaveNothing?: boolean | undefined;
  /** A question about sessions: no folder for VMs is made for it. */
  onlyIfThere?: boolean | undefined;
  /** That host is asked to prove what it runs. */
  attest?: boolean | undefined;
  /** How long a serve that is started there waits for a call, in milliseconds; absent for a question. */
  idleMs?: number | undefined;
  passphrase: () => Promise<string>;
}

export interface OpenHost {
  address: Address;
  /** Absent for an address that leads there of itself. */
  way: Way | undefined;
  /** Ends what was opened for it; `isDone` if the VM is there. Never throws. */
  close(isDone?: boolean): Promise<void>;
}

/** A question is asked soon. */
const questionIdleMs = 60_000;

/** What VMs that went there needed: over there root has a journal of its own, and so has each account. */
function needsAsSent(home: string, to: SshAddress): RootNeed {
  const sent = providersSentTo(home, sshAddressText(to));
  return { qemu: sent.includes("qemu"), libvirt: sent.includes("libvirt") };
}

/** Prepares the way to a host; over ssh nothing is done before it is needed. */
export function openHost(
  called: Called,
  options: SshHostOptions,
  { world, reporter }: { world: World; reporter: Reporter },
): OpenHost {
  if (called.ssh === undefined) return { address: called.address, way: undefined, close: async () => {} };
  const { home, passphrase } = options;
  const attest = options.attest === true || asksForProofs(home, sshAddressText(called.ssh));
  const needs = { ...(options.needs ?? needsAsSent(home, called.ssh)), attest };
  const way = new SshWay({
    to: called.ssh,
    home,
    self: world.self,
    identity: () => loadHostIdentity(home, { passphrase }),
    needs,
    via: options.via,
    idleMs: options.idleMs ?? questionIdleMs,
    leaveNothing: options.leaveNothing === true,
    onlyIfThere: options.onlyIfThere === true,
    // What ssh asks on its terminal is read by a person only if what it is about is, too.
    mayAsk: world.stderr.isTTY,
    tell: (sentence) => reporter.note(sentence),
    warn: (sentence) => reporter.warn(sentence),
  });
  return { address: way.address, way, close: (isDone) => way.close(isDone) };
}
