/** What a person is told of a destination that does not make images as they are at the source. Pure. */
import { isUsual } from "../../../protocol/image-shape.ts";
import type { MessageBody } from "../../../protocol/messages.ts";
import type { OfferedMachine } from "../../../protocol/offer.ts";

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
