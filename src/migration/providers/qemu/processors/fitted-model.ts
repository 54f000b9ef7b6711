/**
 * Whether this host's QEMU can be what a VM ran on, asked before anything is made for it: its machine type, its
 * version, and the processor feature by feature; and the VM as it is to be started here so that its guest finds the
 * processor that it booted on (SPEC.md, The processor).
 */
import { statSync } from "node:fs";
import * as v from "valibot";
import { kvmUsable, which } from "../../../../platform/host.ts";
import { MigrateError } from "../../../../protocol/errors.ts";
import type { OfferedMachine } from "../../../../protocol/offer.ts";
import { printable } from "../../../../protocol/printable.ts";
import type { QemuVersion } from "../../../../protocol/processor.ts";
import type { Confinement } from "../../../../vm/confinement/confinement.ts";
import { acceleratorFor } from "../../../../vm/qemu/definition/command-line.ts";
import type { CpuModel, VmModel } from "../../../../vm/qemu/definition/model.ts";
import { requireIncoming } from "../../../../vm/qemu/incoming.ts";
import { differenceOf, isSame, pinned, refusalOf } from "../../../../vm/qemu/processor/processor.ts";
import { type Ask, type ReadProcessor, readProcessor } from "../../../../vm/qemu/processor/read-processor.ts";
import { emptyCommand, trialCommand } from "../../../../vm/qemu/processor/trial-command.ts";
import { TrialQemu } from "../../../../vm/qemu/processor/trial-qemu.ts";
import { QmpError, qmpFailure } from "../../../../vm/qemu/qmp/qmp-error.ts";
import { type TrialAsker, TrialTurns } from "./trial-turns.ts";

/** What a source says of its side; a field that is absent is not compared. */
export type Compared = Pick<OfferedMachine, "qemu" | "processor">;

/** What was found of a VM's processor: what it is to be started with, and the QEMU that said so. */
interface Fitted {
  cpu: CpuModel | null;
  /** Null if none was asked. */
  qemu: QemuVersion | null;
}

export interface ProcessorPolicy {
  allowTcg: boolean;
  confinement: Confinement | null;
}

/** Answers that are remembered: START comes after OFFER, with the same question. */
const mostRemembered = 16;
const remembered = new Map<string, Fitted>();
const turns = new TrialTurns();

const refusal = (code: "policy" | "processor", message: string) =>
  new MigrateError(code, message, { side: "destination" });

/**
 * Returns the VM as its QEMU is to be started here. Throws MigrateError "policy" if QEMU does not know its machine or
 * its processor's model, "processor" that names what this host cannot give, or not keep from the guest, and
 * "qemu-failed" if QEMU cannot be asked; "cancelled" if the asker is over before it is.
 */
export async function fittedModel(
  model: VmModel,
  compared: Compared,
  policy: ProcessorPolicy,
  asker: TrialAsker,
): Promise<VmModel> {
  const { cpu } = await fittedProcessor(model, compared, policy, asker);
  return { ...model, cpu };
}

/** As `fittedModel`: what the VM's processor is to be, and the version of this host's QEMU. */
export async function fittedProcessor(
  model: VmModel,
  compared: Compared,
  policy: ProcessorPolicy,
  asker: TrialAsker,
): Promise<Fitted> {
  const trial = trialOf(model, policy);
  const key = JSON.stringify([trial.id, trial.command(model.cpu), model.cpu, compared]);
  const known = () => remembered.get(key) ?? null;
  // What is known waits for nobody's trial.
  const before = known();
  if (before !== null) return before;
  return await turns.run(asker, async () => known() ?? (await fitted(model, compared, trial, key)));
}

async function fitted(model: VmModel, compared: Compared, trial: Trial, key: string): Promise<Fitted> {
  try {
    const cpu = await fittedCpu(model, compared, trial);
    const found = { cpu, qemu: trial.version };
    remembered.set(key, found);
    const [oldest] = remembered.keys();
    if (remembered.size > mostRemembered) remembered.delete(oldest!);
    return found;
  } catch (thrown) {
    throw qmpFailure(thrown, "destination");
  }
}

async function fittedCpu(
  model: VmModel,
  { qemu, processor }: Compared,
  trial: Trial,
): Promise<CpuModel | null> {
  const { cpu } = model;
  if (model.system !== "x86_64" || model.machine === "none") {
    await trial.requireKnown(model, qemu);
    return cpu;
  }
  const first = await trial.run(model, qemu);
  if (processor === undefined || first === null) return cpu;
  const difference = differenceOf(processor, first.processor);
  if (isSame(difference)) return cpu;
  const named = cpu ?? { model: first.model, features: [] };
  // QEMU ends at a name that it does not know.
  const missing = difference.missing.filter((name) => first.known.includes(name));
  const fitting = pinned(named, { ...difference, missing }, processor.identity);
  const second = await trial.run({ ...model, cpu: fitting }, qemu);
  const left = differenceOf(processor, (second ?? first).processor);
  if (!isSame(left)) throw refusal("processor", refusalOf(left));
  return fitting;
}

interface Trial {
  /** What its answers hang on beside its command line. */
  id: unknown;
  /** Of the QEMU that was asked; null until one was. */
  version: QemuVersion | null;
  command(cpu: CpuModel | null): readonly string[];
  /** Starts the VM's machine and reads its processor. Throws MigrateError if that cannot be had, and QmpError. */
  run(model: VmModel, qemu: QemuVersion | undefined): Promise<ReadProcessor | null>;
  /** As `run`, of a QEMU without a machine: says what it does not know. */
  requireKnown(model: VmModel, qemu: QemuVersion | undefined): Promise<void>;
}

function trialOf(model: VmModel, { allowTcg, confinement }: ProcessorPolicy): Trial {
  const program = `qemu-system-${model.system}`;
  const binary = which(program);
  if (binary === null) throw refusal("policy", `the destination has no ${program} to run this VM with`);
  const accel = acceleratorFor(model, { allowTcg, kvmUsable: kvmUsable().usable });
  const { dev, ino, mtimeMs, size } = statSync(binary);
  const confined = (argv: readonly string[]) => (confinement === null ? argv : confinement.trial(argv));
  const requireKnown = async (of: VmModel, qemu: QemuVersion | undefined) => {
    const started = await TrialQemu.start(confined(emptyCommand(binary)));
    if (!(started instanceof TrialQemu)) throw notStarted(started.lastErrors);
    await using asked = started;
    trial.version = await asked.version;
    requireVersion(trial.version, qemu);
    await requireNames(asked, of);
  };
  const trial: Trial = {
    version: null,
    id: [dev, ino, mtimeMs, size],
    command: (cpu) => trialCommand({ ...model, cpu }, binary, accel),
    async run(of, qemu) {
      const started = await TrialQemu.start(confined(trialCommand(of, binary, accel)));
      if (!(started instanceof TrialQemu)) {
        await requireKnown(of, qemu);
        throw notStarted(started.lastErrors);
      }
      await using asked = started;
      trial.version = await asked.version;
      requireVersion(trial.version, qemu);
      return await readProcessor(asked.ask);
    },
    requireKnown,
  };
  return trial;
}

function notStarted(lastErrors: string): MigrateError {
  const why = lastErrors === "" ? "" : `: ${lastErrors}`;
  return new MigrateError("qemu-failed", `the destination's QEMU cannot make the VM's machine${why}`, {
    side: "destination",
  });
}

function requireVersion({ major, minor }: QemuVersion, qemu: QemuVersion | undefined): void {
  requireIncoming({ major, minor });
  if (qemu === undefined) return;
  if (major > qemu.major || (major === qemu.major && minor >= qemu.minor)) return;
  throw refusal(
    "processor",
    `the destination's QEMU is ${major}.${minor}, and the VM runs under ${qemu.major}.${qemu.minor}: an older one may not read its state`,
  );
}

const machines = v.array(v.object({ name: v.string(), alias: v.optional(v.string()) }));
const models = v.array(v.object({ name: v.string() }));

/** Throws MigrateError "policy" that names what of the VM this QEMU does not know. */
async function requireNames({ ask, version }: { ask: Ask; version: Promise<QemuVersion> }, model: VmModel) {
  const { major, minor } = await version;
  const known = v.safeParse(machines, await ask("query-machines"));
  if (!known.success) throw new QmpError("malformed", "what came as QEMU's list of machines is none");
  if (!known.output.some(({ name, alias }) => name === model.machine || alias === model.machine))
    throw refusal(
      "policy",
      `the destination's QEMU ${major}.${minor} does not know the machine type ${printable(model.machine)}`,
    );
  const { cpu } = model;
  if (cpu === null) return;
  const have = v.safeParse(models, await ask("query-cpu-definitions"));
  if (have.success && !have.output.some(({ name }) => name === cpu.model))
    throw refusal(
      "policy",
      `the destination's QEMU ${major}.${minor} does not know the processor ${printable(cpu.model)}`,
    );
}
