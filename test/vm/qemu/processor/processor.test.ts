/** How two processors are compared, what QEMU is told of the difference, and the sentence that refuses a VM. */
import { describe, expect, test } from "bun:test";
import { limits } from "../../../../src/protocol/limits.ts";
import type { Processor, ProcessorIdentity } from "../../../../src/protocol/processor.ts";
import { cpuFeature } from "../../../../src/vm/qemu/definition/machine.ts";
import {
  differenceOf,
  isSame,
  listed,
  pinned,
  refusalOf,
} from "../../../../src/vm/qemu/processor/processor.ts";

const cpu = (features: string[], identity: ProcessorIdentity = {}): Processor => ({ features, identity });

describe("two processors", () => {
  test("differ in what one has and the other has not, both ways", () => {
    expect(differenceOf(cpu(["sse2", "avx"]), cpu(["sse2", "gfni", "adx"]))).toEqual({
      missing: ["avx"],
      besides: ["adx", "gfni"],
      identity: [],
    });
    expect(isSame(differenceOf(cpu(["b", "a"]), cpu(["a", "b"])))).toBe(true);
  });

  test("differ by what CPUID calls them, where both say it", () => {
    const has = cpu([], { family: 6, model: 94, vendor: "GenuineIntel" });
    const gets = cpu([], { family: 6, model: 85, stepping: 1 });
    expect(differenceOf(has, gets).identity).toEqual(["model"]);
  });
});

describe("QEMU is told", () => {
  const none = { missing: [], besides: [], identity: [] };

  test("each feature that is to be there or not, behind what it was told before", () => {
    const told = pinned(
      { model: "host", features: ["-avx", "pmu=off"] },
      { ...none, missing: ["3dnow"], besides: ["avx512f"] },
      {},
    );
    expect(told).toEqual({ model: "host", features: ["-avx", "pmu=off", "+3dnow", "-avx512f"] });
  });

  test("a value in place of the one that it was told before, however that was spelt", () => {
    const told = pinned(
      { model: "max", features: ["model_id=x", "stepping=1"] },
      { ...none, identity: ["brand", "physBits"] },
      { brand: "Some CPU (R) @ 2GHz", physBits: 39 },
    );
    expect(told.features).toEqual([
      "stepping=1",
      "host-phys-bits=off",
      "model-id=Some CPU (R) @ 2GHz",
      "phys-bits=39",
    ]);
    // It is a command line that can be read again.
    for (const feature of told.features) expect(feature).toMatch(cpuFeature);
  });

  test.each([
    ["a path in place of a number", "memory=/machine/x"],
    ["a comma", "model-id=a,b"],
    ["a line's end", "model-id=a\nb"],
  ])("nothing of another kind: %s is not among what a processor may bring along", (_, feature) => {
    expect(feature).not.toMatch(cpuFeature);
  });
});

describe("a refusal", () => {
  test("names what is missing, what is there besides, and what is called otherwise", () => {
    expect(refusalOf({ missing: ["a", "b", "c"], besides: ["d"], identity: ["brand"] })).toBe(
      "the processor that the destination can give the VM lacks a, b and c, which the VM's has, and has d, which the VM's has not, and has another model-id",
    );
  });

  test("has room for all that it says, whatever a source says it has", () => {
    const longest = Array.from({ length: limits.processorFeatures }, (_, n) => `${n}`.padStart(48, "f"));
    const all = { missing: longest, besides: [], identity: [] };
    expect(Buffer.byteLength(refusalOf(all))).toBeLessThan(limits.errorTextBytes);
    expect(listed(["a", "b", "c"], 6)).toBe("a, b and 1 more");
  });
});
