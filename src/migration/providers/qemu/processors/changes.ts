/** What will be different at the destination, by its own word in ACCEPT, as sentences for the person. Pure. */
import type { MessageBody } from "../../../../protocol/messages.ts";
import { changeNotes } from "../../../../vm/qemu/definition/command-line.ts";
import type { QemuDefinition } from "../../../../vm/qemu/definition/model.ts";
import type { Compared } from "./fitted-model.ts";

/** Of the VM's cards, its screen and its processor: `offered` is what the destination was to compare. */
export function changesOf(
  definition: QemuDefinition,
  offered: Compared,
  accepted: Pick<MessageBody<"accept">, "cards" | "processor" | "vnc">,
): readonly string[] {
  const uncompared = offered.processor !== undefined && accepted.processor !== true;
  return [
    ...changeNotes(definition, accepted.cards, accepted.vnc),
    ...(uncompared
      ? [
          "the destination is of an earlier version and does not compare processors: if its own lacks what the guest uses, the guest fails there",
        ]
      : []),
  ];
}
