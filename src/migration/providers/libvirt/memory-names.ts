/** What the image of a domain's memory is called in the domain's folder at the destination, and on its way there. */

export const memoryName = "memory.save";
/** While libvirt reads it, and has the domain stand: whoever finds it so knows that it never ran. */
export const restoringName = "memory.restoring";
/** From just before the domain goes on: whoever finds it so does not know whether it ran. */
export const restoredName = "memory.restored";
