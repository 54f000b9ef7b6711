/**
 * How much a lane compresses: "auto" decides for each chunk, "off" never compresses, and a number
 * from 1 to `highestLevel` is a fixed level of zstd.
 */
export type Compression = "auto" | "off" | number;

/** zstd's highest level without --ultra; the ones beyond it take more memory than a lane may have. */
export const highestLevel = 19;
