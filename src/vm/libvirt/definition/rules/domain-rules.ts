/** The whole of a domain: the top of the tables, and those parts of it that are about the domain as such. Pure. */
import { checkVmName } from "../../../../protocol/names.ts";
import { deviceRules } from "./device-rules.ts";
import { type ElementRule, leftOut } from "./grammar.ts";
import { machineRules } from "./machine-rules.ts";
import { keepMetadata } from "./metadata.ts";
import { resourceRules } from "./resource-rules.ts";
import { lines, oneOf, uuid } from "./values.ts";

/** More devices than any domain has; libvirt's time to place them grows with their square. */
const mostDevices = 1024;

export const domainRule: ElementRule = {
  needs: ["type"],
  attributes: { type: oneOf("kvm qemu"), id: leftOut },
  needsChildren: ["name", "uuid", "memory", "vcpu", "os", "devices"],
  children: {
    name: { text: { test: (name) => checkVmName(name) === null }, sealed: true },
    uuid: { text: uuid, sealed: true },
    title: { text: lines },
    description: { text: lines },
    metadata: { asIs: true, prepare: keepMetadata },
    ...resourceRules,
    ...machineRules,
    devices: {
      sealed: true,
      children: deviceRules,
      prepare: (devices, draft) => {
        if (devices.children.length <= mostDevices) return devices;
        return draft.refuse("<devices>", `it has more than ${mostDevices} devices`);
      },
    },
  },
};
