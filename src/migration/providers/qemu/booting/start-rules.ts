/**
 * How a VM is started on this host: what `serve` gave it when it arrived. It lies in the VM's own vm.json, so that it
 * is there as long as the VM, and goes with it.
 */
import * as v from "valibot";
import { MigrateError } from "../../../../protocol/errors.ts";
import type { NetPolicy } from "../../../../vm/qemu/definition/command-line.ts";
import { vncPolicies } from "../../../../vm/qemu/definition/consoles/display.ts";
import type { QemuPolicy } from "../arriving-command.ts";

/** More than the network cards of any VM. */
const mostCards = 256;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const card = v.variant("kind", [
  v.strictObject({ kind: v.picklist(["user", "none"]) }),
  v.strictObject({
    kind: v.literal("bridge"),
    bridge: v.pipe(v.string(), v.regex(/^[A-Za-z0-9._-]{1,15}$/)),
  }),
]);
const cards = v.pipe(
  v.array(v.strictObject({ card: v.union([count, v.pipe(v.string(), v.maxLength(17))]), behind: card })),
  v.maxLength(mostCards),
);
const schema = v.object({
  net: v.variant("kind", [
    v.strictObject({ kind: v.picklist(["user", "none"]), cards: v.optional(cards) }),
    v.strictObject({
      kind: v.literal("bridge"),
      bridge: v.pipe(v.string(), v.regex(/^[A-Za-z0-9._-]{1,15}$/)),
      cards: v.optional(cards),
    }),
  ]),
  allowTcg: v.boolean(),
  users: v.optional(v.union([v.literal("off"), v.strictObject({ first: count, last: count })])),
  vnc: v.optional(v.picklist(vncPolicies)),
});

/** A policy without what this host can do at the moment. */
export type StartRules = Pick<QemuPolicy, "net" | "allowTcg" | "users" | "vnc">;

/** What is kept of a policy. */
export function rulesOf({ net, allowTcg, users, vnc }: QemuPolicy): StartRules {
  return {
    net,
    allowTcg,
    ...(users === undefined ? {} : { users }),
    ...(vnc === undefined ? {} : { vnc }),
  };
}

/** Of a VM whose arrival kept none: cut off from all networks, as a serve without flags has it. */
export const usualRules: StartRules = { net: { kind: "none" }, allowTcg: false };

/** The rules in a vm.json, whose field this is. Throws MigrateError "vm-invalid" for what are none. */
export function readRules(value: unknown): StartRules {
  if (value === undefined) return usualRules;
  const result = v.safeParse(schema, value);
  if (!result.success) {
    throw new MigrateError(
      "vm-invalid",
      "vm.json does not say how the VM is started here: its field here is damaged",
      {
        hint: "take that field out, and say so with the flags of migrate start",
      },
    );
  }
  const { net, ...rest } = result.output;
  return rulesOf({ net: net as NetPolicy, confinement: null, ...rest });
}
