/** What OFFER says of a running VM's processor and of the QEMU that it runs under (SPEC.md, The processor). Pure. */
import * as v from "valibot";
import { count } from "./fields.ts";
import { limits } from "./limits.ts";

/** A version of QEMU: what it reads of a VM's state hangs on these two numbers. */
export const qemuVersion = v.object({ major: count(999), minor: count(999) });
export type QemuVersion = v.InferOutput<typeof qemuVersion>;

/** A name in QEMU's list of a processor's features: "avx512f", "kvm-pv-eoi", "sse4.1". */
export const featureName = /^[a-z\d][a-z\d.-]{0,47}$/;
/** What CPUID calls the processor. No comma: it would be QEMU's, which ends a feature with one. */
const brand = /^[\w.: ()@/+-]{0,48}$/;
const vendor = /^[\w.: ()@/+!-]{12}$/;
const number = v.optional(count(0xffff_ffff));

/** The processor that the guest has, by its QEMU's word. */
export const processor = v.object({
  /** The features that it has, each once. What is not among them it has not. */
  features: v.pipe(
    v.array(v.pipe(v.string(), v.regex(featureName))),
    v.maxLength(limits.processorFeatures),
    v.check((names) => new Set(names).size === names.length, "a feature is there twice"),
  ),
  /** What CPUID says of it besides; what is absent is not compared. */
  identity: v.object({
    vendor: v.optional(v.pipe(v.string(), v.regex(vendor))),
    family: number,
    model: number,
    stepping: number,
    brand: v.optional(v.pipe(v.string(), v.regex(brand))),
    level: number,
    xlevel: number,
    xlevel2: number,
    physBits: number,
  }),
});
export type Processor = v.InferOutput<typeof processor>;
export type ProcessorIdentity = Processor["identity"];
