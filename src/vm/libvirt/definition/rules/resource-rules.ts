/**
 * What a domain may say of its memory and processors, and of its share of the host's (formatdomain, "CPU
 * Allocation" to "Resource partitioning"). What is bound to one host's processors and nodes stays there. Pure.
 */
import { childOf } from "../../xml/xml-element.ts";
import { type ChildRule, type ElementRule, leftOut, leftOutWith } from "./grammar.ts";
import {
  bare,
  count,
  cpuset,
  numbered,
  oneOf,
  only,
  onOff,
  sized,
  text,
  unit,
  whole,
  yesNo,
} from "./values.ts";

const aboutProcessors = "it is about this host's processors";
const aboutNodes = "it is about this host's memory nodes";
const host = leftOutWith(aboutProcessors);

const pollAndPool = { thread_pool_min: count, thread_pool_max: count };

const hugePage: ElementRule = {
  attributes: { size: whole, unit, nodeset: cpuset },
  needs: ["size"],
  many: true,
};

export const memoryBacking: ElementRule = {
  children: {
    hugepages: { children: { page: hugePage } },
    nosharepages: bare,
    locked: bare,
    // "file" lies in a folder of qemu.conf: the destination's own.
    source: only({ type: oneOf("file anonymous memfd") }),
    access: only({ mode: oneOf("shared private") }),
    allocation: only({ mode: oneOf("immediate ondemand"), threads: count }),
    discard: bare,
  },
};

const periods = ["", "global_", "emulator_", "iothread_"].flatMap((what): [string, ChildRule][] => [
  [`${what}period`, numbered],
  [`${what}quota`, { text: /^-?\d{1,18}$/ }],
]);

const scheduler = leftOutWith("the host's scheduler is the destination's to set up");

export const resourceRules: Readonly<Record<string, ChildRule>> = {
  memory: { attributes: { unit, dumpCore: onOff }, text: whole, sealed: true },
  currentMemory: sized,
  maxMemory: { attributes: { unit, slots: count }, text: whole },
  memoryBacking,
  memtune: {
    children: { hard_limit: sized, soft_limit: sized, swap_hard_limit: sized, min_guarantee: sized },
  },
  vcpu: {
    attributes: {
      placement: oneOf("static auto"),
      cpuset: leftOutWith(aboutProcessors),
      current: count,
    },
    text: /^\d{1,4}$/,
    sealed: true,
    prepare: (element, draft) => {
      if (element.attributes.get("placement") !== "auto") return element;
      draft.note(`<vcpu> placement="auto" is left out: ${aboutProcessors}`);
      const attributes = new Map(element.attributes).set("placement", "static");
      return { ...element, attributes };
    },
  },
  vcpus: {
    children: {
      vcpu: only({ id: count, enabled: yesNo, hotpluggable: yesNo, order: count }, true),
    },
  },
  iothreads: { text: /^\d{1,4}$/ },
  iothreadids: {
    children: {
      iothread: {
        attributes: { id: count, ...pollAndPool },
        children: { poll: only({ max: whole, grow: whole, shrink: whole }) },
        many: true,
      },
    },
  },
  defaultiothread: only(pollAndPool),
  cputune: {
    children: {
      shares: numbered,
      ...Object.fromEntries(periods),
      vcpupin: host,
      emulatorpin: host,
      iothreadpin: host,
      vcpusched: scheduler,
      iothreadsched: scheduler,
      emulatorsched: scheduler,
      cachetune: host,
      memorytune: host,
    },
  },
  numatune: leftOutWith(aboutNodes),
  blkiotune: {
    children: { weight: numbered, device: leftOutWith("it is about a device of this host") },
  },
  resource: {
    prepare: (element, draft) => {
      // What libvirt writes of every domain that runs.
      if (childOf(element, "partition")?.text !== "/machine" || element.children.length > 1)
        draft.note("<resource> is left out: it is about this host's control groups");
      return null;
    },
  },
  perf: leftOutWith("what is measured is the destination's to say"),
  throttlegroups: {
    children: {
      throttlegroup: {
        children: {
          group_name: { text },
          ...ioLimits(),
        },
        many: true,
      },
    },
  },
  seclabel: leftOut,
};

/** Limits to what a disk may read and write, as <iotune> has them. */
export function ioLimits(): Record<string, ElementRule> {
  const kinds = ["total", "read", "write"].flatMap((way) =>
    ["bytes", "iops"].flatMap((what) => ["", "_max", "_max_length"].map((end) => `${way}_${what}_sec${end}`)),
  );
  return Object.fromEntries([...kinds, "size_iops_sec"].map((name) => [name, numbered]));
}
