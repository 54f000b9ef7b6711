/**
 * The processor that a QEMU gives its guest, asked of the processor itself: what a model has by its name and what its
 * accelerator left of that differ (QEMU target/i386/cpu.c, x86_cpu_filter_features).
 */
import * as v from "valibot";
import { limits } from "../../../protocol/limits.ts";
import {
  featureName,
  type Processor,
  type ProcessorIdentity,
  processor as processorSchema,
} from "../../../protocol/processor.ts";
import { QmpError } from "../qmp/qmp-error.ts";
import { identityProperties } from "./processor.ts";

/** A command of QEMU's machine protocol and its answer, unread. Throws QmpError. */
export type Ask = (command: string, args?: object) => Promise<unknown>;

export interface ReadProcessor {
  processor: Processor;
  /** Names of all features that this QEMU knows. */
  known: readonly string[];
  /** The model's name, also where nobody has named one: "qemu64". */
  model: string;
}

const expansion = v.object({ model: v.object({ props: v.record(v.string(), v.unknown()) }) });
const processors = v.array(v.object({ "qom-path": v.string() }));
/** "qemu64-x86_64-cpu", and what a model's name is of it. */
const typeOf = /^([A-Za-z\d][\w.-]{0,63})-(?:x86_64|i386)-cpu$/;
/** Names that are asked for at most: who answers may be no QEMU any more. */
const mostNames = 2048;
/** A model that each QEMU for PCs has: asked for all names of features. */
const emptyModel = { type: "static", model: { name: "base" } };

/**
 * Asks for the first of a VM's processors, which are all alike. Null if this QEMU has none that can be compared: it is
 * no PC's, or of a version that cannot be asked. Throws QmpError.
 */
export async function readProcessor(ask: Ask): Promise<ReadProcessor | null> {
  try {
    const { model } = read(expansion, await ask("query-cpu-model-expansion", emptyModel));
    const [first] = read(processors, await ask("query-cpus-fast"));
    if (first === undefined) return null;
    const get = (property: string) => ask("qom-get", { path: first["qom-path"], property });
    const names = Object.keys(model.props)
      .filter((name) => typeof model.props[name] === "boolean" && featureName.test(name))
      .slice(0, mostNames);
    const type = typeOf.exec(String(await get("type")));
    if (type === null) return null;
    const values = await Promise.all(names.map(async (name) => (await asked(get, name)) === true));
    const features = names.filter((_, i) => values[i]).sort();
    return {
      model: type[1]!,
      known: names,
      processor: { features: features.slice(0, limits.processorFeatures), identity: await identityOf(get) },
    };
  } catch (thrown) {
    if (thrown instanceof QmpError && thrown.kind === "refused") return null;
    throw thrown;
  }
}

/** What a processor of this QEMU does not know it does not have. */
async function asked(get: (property: string) => Promise<unknown>, property: string): Promise<unknown> {
  try {
    return await get(property);
  } catch (thrown) {
    if (thrown instanceof QmpError && thrown.kind === "refused") return undefined;
    throw thrown;
  }
}

/** What of it can be told to another QEMU; the rest is left out. */
async function identityOf(get: (property: string) => Promise<unknown>): Promise<ProcessorIdentity> {
  const shapes = processorSchema.entries.identity.entries;
  const entries = await Promise.all(
    Object.entries(identityProperties).map(async ([key, property]) => {
      const value = v.safeParse(shapes[key as keyof ProcessorIdentity], await asked(get, property));
      return value.success && value.output !== undefined ? [[key, value.output] as const] : [];
    }),
  );
  return Object.fromEntries(entries.flat());
}

function read<S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw new QmpError("malformed", "what came as QEMU's answer about its processor is none");
}
