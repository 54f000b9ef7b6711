/** `migrate explain`: the way that `send` would go, up to where it would write, on both hosts. */
import { loadHostIdentity } from "../../attestation/host-identity.ts";
import { parseTicket } from "../../channel/ticket.ts";
import { openHome } from "../../home/home.ts";
import { candidateOf } from "../../migration/providers/candidates.ts";
import type { Unfinished } from "../../migration/source/claim.ts";
import { type DryRun, dryRun } from "../../migration/source/dry-run.ts";
import { asMigrateError, type MigrateError } from "../../protocol/errors.ts";
import type { VmPolicy } from "../../protocol/vm-policy.ts";
import type { Reporter } from "../../terminal/reporter.ts";
import { homeOf, type World } from "../cli/context.ts";
import { type OtherHost, whileOpen } from "../cli/other-host.ts";
import { needsOf, type WhichVm } from "../send/which-vm.ts";

export interface Rehearsal {
  /** Null if nothing could be learned of the VM. */
  run: DryRun | null;
  /** What `send` would see to before it looks at the VM; nothing else can be told then. */
  unfinished?: { name: string; says: string };
  /** What `send` would end with comes first. */
  refusals: MigrateError[];
  notes: string[];
}

/** Throws MigrateError, as `send` would, if the destination cannot be asked. */
export async function rehearse(
  around: { world: World; reporter: Reporter },
  { vm, after }: Pick<WhichVm, "vm" | "after">,
  {
    there,
    ticket: text,
    copy,
    base,
    attest,
    prove,
    sealsTpm,
    vmPolicy,
  }: {
    there: OtherHost | null;
    ticket: string | undefined;
    copy: boolean;
    base: string | undefined;
    attest: boolean;
    prove: boolean;
    /** A passphrase for the state of its virtual TPM would be given. */
    sealsTpm: boolean;
    vmPolicy: VmPolicy | undefined;
  },
): Promise<Rehearsal> {
  const home = openHome(homeOf(around.world));
  const mode: "copy" | "move" = copy ? "copy" : "move";
  let hasCalled = false;
  try {
    const candidate = candidateOf(vm, {
      ...{ home, bandwidthBytesPerSec: null, retryForMs: 0, mode },
      // Nothing is sealed to it.
      ...(sealsTpm ? { tpmSeal: { publicKey: "", sealedKey: "" } } : {}),
    });
    const asked = {
      ...{ home, mode, after, base, vmPolicy },
      calling: () => {
        hasCalled = true;
      },
    } as const;
    const run =
      there === null
        ? await dryRun(candidate, { ...asked, to: null })
        : await whileOpen(there, { home, needs: needsOf(vm), attest }, around, async (host) => {
            const proofs = { attests: attest, proves: prove, env: around.world.env };
            const to = { ...host, ...proofs, ...(await introduced(home, there, text)) };
            return await dryRun(candidate, { ...asked, to });
          });
    if (!("unfinished" in run)) return { run, refusals: run.there?.refusals ?? [], notes: run.notes };
    return { run: null, refusals: [], notes: [], unfinished: saidOf(run) };
  } catch (thrown) {
    const error = asMigrateError(thrown);
    // The way there is no part of what there is against the VM.
    if (error.code === "bug" || (hasCalled && error.side !== "destination")) throw error;
    return { run: null, refusals: [error], notes: [] };
  }
}

function saidOf({ unfinished: { name, address, session }, what }: Unfinished) {
  const id = session.slice(0, 12);
  const says =
    what === "ends"
      ? `${name} was released to ${address} before (session ${id}): migrate send ends that move, and sends nothing anew.`
      : `A move of ${name} was broken off, and is not taken back yet (session ${id}): migrate send does that first. Then ask again.`;
  return { name, says };
}

/** Who asks, and by which ticket. */
async function introduced(
  home: string,
  { insecure, passphrase, notice }: OtherHost,
  text: string | undefined,
) {
  const identity = insecure ? null : await loadHostIdentity(home, { passphrase });
  return { identity, notice, ticket: text === undefined || insecure ? undefined : parseTicket(text) };
}
