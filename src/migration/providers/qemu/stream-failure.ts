/**
 * A stream that fails closes QEMU's end of it, and QEMU then fails, or ends, because of that. The two come to be
 * known by different ways, the consequence first now and then; what is told to a person and to the peer is the cause.
 */

/** How soon after QEMU's failure the failure of the stream behind it is known, on a busy host too, in milliseconds. */
export const streamFailureMs = 250;
