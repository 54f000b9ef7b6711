/** What the image of a domain's memory is called in the domain's folder at the destination, and on its way there. */

export const memoryName = "memory.save";
/** While libvirt reads it: whoever finds it so does not know whether the domain ran. */
export const restoringName = "memory.restoring";
