/** The value of --drop: what a move may leave behind. Pure. */
import { MigrateError } from "../../protocol/errors.ts";
import { droppable } from "../../vm/qemu/images/left-behind.ts";

/** What a VM may go without: it is known what that means once the VM is. */
export function dropped(text: string): string {
  if (/^[a-z][\w:-]{0,40}$/i.test(text)) return text;
  throw new MigrateError("usage", `must be ${droppable.join(", ")} or the name of an element`);
}
