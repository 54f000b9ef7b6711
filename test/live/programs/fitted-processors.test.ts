/**
 * What a destination's real QEMU says of a VM from another host before anything is made for it: the source's side is
 * what a real QEMU said of its own processor, with TCG or with KVM where it is there.
 */
import { describe, expect, test } from "bun:test";
import { fittedModel } from "../../../src/migration/providers/qemu/processors/fitted-model.ts";
import { kvmUsable } from "../../../src/platform/host.ts";
import { MigrateError } from "../../../src/protocol/errors.ts";
import type { Processor } from "../../../src/protocol/processor.ts";
import { parseDefinition } from "../../../src/vm/qemu/definition/definition.ts";
import { modelOf, type VmModel } from "../../../src/vm/qemu/definition/model.ts";
import { readProcessor } from "../../../src/vm/qemu/processor/read-processor.ts";
import { trialCommand } from "../../../src/vm/qemu/processor/trial-command.ts";
import { TrialQemu } from "../../../src/vm/qemu/processor/trial-qemu.ts";

const program = "qemu-system-x86_64";
const policy = { allowTcg: true, confinement: null };
const asker = { source: "sha256:source", isOver: () => false };

/** A VM by its command line. */
const vm = (...words: string[]): VmModel =>
  modelOf(parseDefinition([program, "-machine", "pc-i440fx-7.2", "-accel", "tcg", ...words]));

/** The processor that a QEMU here gives the VM. */
async function processorOf(model: VmModel): Promise<Processor> {
  const started = await TrialQemu.start(trialCommand(model, program, model.accel));
  if (!(started instanceof TrialQemu)) throw new Error(started.lastErrors);
  await using qemu = started;
  return (await readProcessor(qemu.ask))!.processor;
}

async function refusal(model: VmModel, compared: Parameters<typeof fittedModel>[1]): Promise<MigrateError> {
  const thrown: unknown = await fittedModel(model, compared, policy, asker).then(
    () => "it was taken",
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(MigrateError);
  return thrown as MigrateError;
}

// [CPU-3]
describe("a guest's processor", () => {
  test("that this QEMU gives by itself is taken as the VM asks for it", async () => {
    const model = vm("-cpu", "Skylake-Client,-avx2");
    const fitted = await fittedModel(model, { processor: await processorOf(model) }, policy, asker);
    expect(fitted).toEqual(model);
  });

  test("has what its accelerator left of its model, and not what the model is said to have", async () => {
    const { features } = await processorOf(vm("-cpu", "Skylake-Client"));
    expect(features).toContain("avx2");
    // TCG has none.
    expect(features).not.toContain("pcid");
  });

  test("is pinned where the same words would make another one here: the guest finds what it booted on", async () => {
    const there = await processorOf(vm("-cpu", "max,-avx2,-sse4.1,model-id=Some CPU (R) @ 2GHz,family=6"));
    const fitted = await fittedModel(vm("-cpu", "max"), { processor: there }, policy, asker);
    expect(fitted.cpu).toEqual({
      model: "max",
      features: ["-avx2", "-sse4.1", "family=6", "model-id=Some CPU (R) @ 2GHz"],
    });
    expect(await processorOf(fitted)).toEqual(there);
    // A VM that moves on is read by its command line.
    const line = ["-cpu", [fitted.cpu!.model, ...fitted.cpu!.features].join(",")];
    expect(vm(...line).cpu).toEqual(fitted.cpu);
  });

  test("that nobody named, and that QEMU makes otherwise here, is named and pinned", async () => {
    const there = await processorOf(vm("-cpu", "qemu64,+ssse3,-cx16"));
    const fitted = await fittedModel(vm(), { processor: there }, policy, asker);
    expect(fitted.cpu).toEqual({ model: "qemu64", features: ["+ssse3", "-cx16"] });
    expect(await processorOf(fitted)).toEqual(there);
  });

  test("with what this QEMU cannot give is refused, feature by feature", async () => {
    const there = await processorOf(vm("-cpu", "qemu64,+avx512f,+pcid,+ssse3,x-force-features=on"));
    expect(there.features).toContain("avx512f");
    expect(await refusal(vm("-cpu", "qemu64,+avx512f,+pcid,+ssse3"), { processor: there })).toMatchObject({
      code: "processor",
      side: "destination",
      exitCode: 6,
      message:
        "the processor that the destination can give the VM lacks avx512f and pcid, which the VM's has",
    });
  });

  test("with a feature that only a later QEMU knows is refused by its name", async () => {
    const there = await processorOf(vm("-cpu", "qemu64"));
    const later = { ...there, features: [...there.features, "avx10-256"] };
    expect((await refusal(vm("-cpu", "qemu64"), { processor: later })).message).toEndWith(
      "lacks avx10-256, which the VM's has",
    );
  });

  test("of KVM and that of TCG are told apart both ways, where there is KVM", async () => {
    if (!kvmUsable().usable) return;
    const byKvm: VmModel = { ...vm("-cpu", "qemu64"), accel: "kvm" };
    const there = await processorOf(byKvm);
    expect(there.features).toContain("kvmclock");
    expect((await refusal(vm("-cpu", "qemu64"), { processor: there })).message).toMatch(/lacks .*kvmclock/);
    const plain: VmModel = { ...vm("-cpu", "qemu64,kvm=off,-x2apic"), accel: "kvm" };
    const moved = { ...plain, accel: "tcg" } as const;
    const emulable = await processorOf(plain);
    expect(await processorOf(await fittedModel(moved, { processor: emulable }, policy, asker))).toEqual(
      emulable,
    );
    // No KVM has had it since Linux 4.8.
    const emulated = await processorOf(vm("-cpu", "qemu64,+pcommit"));
    expect((await refusal(byKvm, { processor: emulated })).message).toMatch(/ lacks .*pcommit/);
    const hosts: VmModel = { ...vm("-cpu", "host"), accel: "kvm" };
    expect(await fittedModel(hosts, { processor: await processorOf(hosts) }, policy, asker)).toEqual(hosts);
    // A newer host has more than the guest has seen.
    const older = await processorOf({ ...vm("-cpu", "host,-x2apic,-kvmclock"), accel: "kvm" });
    const fitted = await fittedModel(hosts, { processor: older }, policy, asker);
    expect(fitted.cpu!.features).toEqual(expect.arrayContaining(["-x2apic", "-kvmclock"]));
    expect(await processorOf(fitted)).toEqual(older);
  });

  test("is not compared if its source does not say what it is", async () => {
    const model = vm("-cpu", "qemu64,+avx512f");
    expect(await fittedModel(model, {}, policy, asker)).toEqual(model);
  });
});

// [CPU-2] [CPU-4]
describe("a QEMU", () => {
  test("that does not know the machine type says so, with its version", async () => {
    const model = { ...vm(), machine: "pc-i440fx-99.0" };
    expect(await refusal(model, {})).toMatchObject({
      code: "policy",
      message: expect.stringMatching(
        /^the destination's QEMU \d+\.\d+ does not know the machine type pc-i440fx-99\.0$/,
      ),
    });
  });

  test("that does not know the processor's model says so", async () => {
    expect((await refusal(vm("-cpu", "GraniteRapids-v9"), {})).message).toMatch(
      /^the destination's QEMU \d+\.\d+ does not know the processor GraniteRapids-v9$/,
    );
  });

  test("that cannot make the machine for another reason is quoted, without a path", async () => {
    const { code, message } = await refusal(vm("-cpu", "qemu64,nosuchflag=on"), {});
    expect(code).toBe("qemu-failed");
    expect(message).toMatch(/^the destination's QEMU cannot make the VM's machine: .*nosuchflag/);
  });

  test("that is older than the source's says so, and one that is as old or newer does not", async () => {
    const model = vm("-cpu", "qemu64");
    expect(await refusal(model, { qemu: { major: 99, minor: 1 } })).toMatchObject({
      code: "processor",
      message: expect.stringMatching(
        /^the destination's QEMU is \d+\.\d+, and the VM runs under 99\.1: an older one may not read its state$/,
      ),
    });
    expect(await fittedModel(model, { qemu: { major: 2, minor: 12 } }, policy, asker)).toEqual(model);
  });
});
