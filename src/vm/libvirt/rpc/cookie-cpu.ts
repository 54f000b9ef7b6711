/**
 * The processor in a migration's cookie: the domain's `<cpu>` as the source's libvirt has it now (virCPUDefFormatBuf
 * of src/conf/cpu_conf.c). The destination's libvirt builds `-cpu` of QEMU from it, so it is made anew from words and
 * numbers that can be nothing else. Pure.
 */
import { MigrateError } from "../../../protocol/errors.ts";
import { element, type XmlElement } from "../xml/xml-element.ts";

/** A name of a model, a vendor or a feature: no comma, no equals sign, which would begin another option of QEMU's. */
const word = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** What CPUID tells as its vendor. */
const vendorId = /^[A-Za-z0-9 ._-]{12}$/;
const count = /^[1-9][0-9]{0,4}$/;
const onOff = /^(?:on|off)$/;
/** The longest list that libvirt 11.3 knows for one processor has 300. */
const mostFeatures = 1024;

type Patterns = Readonly<Record<string, RegExp>>;

const cpuAttributes: Patterns = {
  mode: /^(?:custom|host-model|host-passthrough|maximum)$/,
  match: /^(?:minimum|exact|strict)$/,
  check: /^(?:none|partial|full)$/,
  migratable: onOff,
  deprecated_features: onOff,
};
/** The children that are kept, with their attributes. */
const children: Readonly<Record<string, Patterns>> = {
  model: { fallback: /^(?:allow|forbid)$/, vendor_id: vendorId },
  vendor: {},
  topology: { sockets: count, dies: count, clusters: count, cores: count, threads: count },
  cache: { level: /^[0-9]{1,2}$/, mode: /^(?:emulate|passthrough|disable)$/ },
  maxphysaddr: { mode: /^(?:emulate|passthrough)$/, bits: count, limit: count },
  feature: { policy: /^(?:force|require|optional|disable|forbid)$/, name: word },
};

/**
 * `<cpu>` with what is known of it alone.
 * @throws MigrateError "protocol" if a value of that is none that libvirt writes, or there are too many features.
 */
export function rebuildCpu(cpu: XmlElement): XmlElement {
  const inner = cpu.children.flatMap((child) => {
    const patterns = Object.hasOwn(children, child.name) ? children[child.name] : undefined;
    if (patterns === undefined) return [];
    if (child.text !== "" && !word.test(child.text)) throw strange(child.name);
    return [element(child.name, kept(child, patterns), child.text)];
  });
  if (inner.filter(({ name }) => name === "feature").length > mostFeatures) throw strange("feature");
  return element("cpu", kept(cpu, cpuAttributes), inner);
}

function kept(from: XmlElement, patterns: Patterns): Map<string, string> {
  const attributes = [...from.attributes].filter(([name]) => Object.hasOwn(patterns, name));
  for (const [name, value] of attributes) if (!patterns[name]?.test(value)) throw strange(from.name);
  return new Map(attributes);
}

function strange(name: string): MigrateError {
  return new MigrateError(
    "protocol",
    `<${name}> in the cookie of a migration has a value that libvirt does not write`,
  );
}
