/** `migrate explain qmp:PATH`: the QEMU that a destination would start for a VM, and all that is refused of it. */
import { resolve } from "node:path";
import {
  type Leave,
  type LeavingLook,
  lookAtLeaving,
} from "../../migration/providers/qemu/leaving/leaving-look.ts";
import type { Answer } from "../../protocol/asking.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { argumentsBehind, callVm } from "../../vm/qemu/call-vm.ts";
import {
  cardOutcomes,
  commandLine,
  type NamedModel,
  type NetPolicy,
  networkNotes,
} from "../../vm/qemu/definition/command-line.ts";
import { screenNotes } from "../../vm/qemu/definition/consoles/display.ts";
import { readDefinition } from "../../vm/qemu/definition/definition.ts";
import { explainProcessor } from "../../vm/qemu/processor/explain-processor.ts";
import { lookFailure } from "../../vm/qemu/refusals.ts";

/** What a destination is taken to allow. */
export interface Policy {
  allowTcg: boolean;
  net: NetPolicy;
}

/** What a destination allows by its own word. */
function policyOf({ accelerator, cards = [] }: Answer): Policy {
  const behind = (kind: (typeof cards)[number]) =>
    kind === "bridge" ? { kind, bridge: "BRIDGE" } : { kind };
  return {
    allowTcg: accelerator === "tcg",
    net: { kind: "none", cards: cards.map((kind, card) => ({ card, behind: behind(kind) })) },
  };
}

export interface RunningExplanation {
  name: string | null;
  /** With names in place of what only the destination knows; empty if anything is refused. */
  command: string[];
  notes: string[];
  refusals: MigrateError[];
}

/**
 * Looks at the VM behind a QMP socket. With an answer, what the destination refuses is its own to say, and `policy` is of
 * no account. Throws MigrateError "vm-invalid" or "qemu-failed" if nothing of it shows.
 */
export async function explainRunning(
  { qmp: path, ...leave }: Leave & { qmp: string },
  policy: Policy,
  answer: Answer | undefined,
): Promise<RunningExplanation> {
  const look = await lookAt(resolve(path), leave);
  const refusals = [...look.refusals];
  const notes = [...look.notes];
  // The host itself says it, if it is asked.
  if (answer === undefined) notes.push(...screenNotes(look.definition?.shownBy ?? [], "unknown"));
  const name = leave.name ?? look.definition?.name ?? null;
  if (look.model === null) return { name, command: [], notes, refusals };
  const found = { refusals: answer === undefined ? refusals : [...refusals], notes };
  const command = started({ ...look.model, name }, answer === undefined ? policy : policyOf(answer), found);
  return { name, command, notes, refusals };
}

type Look = Pick<LeavingLook, "definition" | "model" | "notes" | "refusals">;

async function lookAt(path: string, leave: Leave): Promise<Look> {
  try {
    using qmp = await callVm(path);
    const look = await lookAtLeaving(qmp, path, leave);
    const { definition } = look;
    const processor = definition === null ? [] : await explainProcessor(qmp, definition.cpu);
    return { ...look, notes: [...look.notes, ...processor] };
  } catch (thrown) {
    const error = lookFailure(thrown);
    const argv = argumentsBehind(path);
    if (argv === null) throw error;
    // What its command line says shows all the same.
    const { definition, refusals, notes } = readDefinition(argv);
    const others = refusals.filter(({ message }) => message !== error.message);
    return { definition, model: null, notes: [...notes], refusals: [error, ...others] };
  }
}

/** Makes the command line; adds what that refuses, and what becomes of the VM's cards. */
function started(
  model: NamedModel,
  { allowTcg, net }: Policy,
  { refusals, notes }: { refusals: MigrateError[]; notes: string[] },
): string[] {
  const folder = `STORE/${model.name ?? "VM"}`;
  try {
    notes.push(...networkNotes(model, cardOutcomes(model, net)));
    const command = commandLine(model, {
      binary: `qemu-system-${model.system}`,
      file: (file) => `${folder}/${file.name}`,
      socketFolder: "RUN",
      tpmSocket: "RUN/swtpm",
      allowTcg,
      kvmUsable: !allowTcg,
      net,
    });
    return refusals.length === 0 ? command : [];
  } catch (thrown) {
    if (!(thrown instanceof MigrateError)) throw thrown;
    refusals.push(thrown);
    return [];
  }
}
