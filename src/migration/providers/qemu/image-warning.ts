/** What a person is told of a running VM's disks: of images that are not made as they are, of writes that wait. Pure. */
import { isUsual } from "../../../protocol/image-shape.ts";
import type { MessageBody } from "../../../protocol/messages.ts";
import type { OfferedMachine } from "../../../protocol/offer.ts";
import type { MigrationEvent } from "../../report/events.ts";

/** A sentence; null if the images are made as they are here, or would be made so anyway. */
export function imageWarning(
  { disks }: Pick<OfferedMachine, "disks">,
  { images }: Pick<MessageBody<"started">, "images">,
): string | null {
  const shaped = disks.filter(({ image }) => image !== undefined && !isUsual(image));
  if (images === true || shaped.length === 0) return null;
  const names = shaped.map(({ name }) => name).join(", ");
  return `the destination is of an earlier version, and does not make the images of ${names} as they are here`;
}

/** Said before the mirror of `disk` begins anew with the guest's writes waiting for it. */
export function slowedNotice(name: string, disk: string): MigrationEvent {
  const message = `the guest of ${name} writes ${disk} faster than the link carries it: its copy begins anew, and each of its writes waits for the destination from now on (if the link is gone for 15 s, the move is given up, so that it can write)`;
  return { event: "notice", message };
}
