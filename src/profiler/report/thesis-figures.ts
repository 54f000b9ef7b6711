/**
 * The figures of R. Jayaram Masti, "On the Security of Virtual Machine Migration and Related Topics",
 * Master thesis, ETH Zurich, 2010, chapter 6: seconds of CPU time, means, for a guest with 128 to
 * 1024 MB of RAM between two laptops (Lenovo T60 and T60p) on a local network. The thesis calls the
 * source "client" and the destination "server". The numbers of its table 6.5 (total migration times)
 * and of section 6.2.1 (connection set-up) are not known here, but for what the constants below hold. Pure.
 */

/** The order of the columns of both tables. */
export const thesisSuites = ["insecure", "aes-128", "rc4", "3des"] as const;

/** A table's rows by RAM size in MB, the values in the order of `thesisSuites`. */
export type ThesisRows = Readonly<Record<string, readonly [number, number, number, number]>>;

export const thesisSource =
  "R. Jayaram Masti, On the Security of Virtual Machine Migration and Related Topics, Master thesis, ETH Zurich, 2010, chapter 6";

/** Table 6.3: the RAM alone. */
export const table63: Readonly<Record<"source" | "destination", ThesisRows>> = {
  source: {
    128: [1.69, 3.42, 2.58, 10.13],
    256: [2.89, 6.68, 5.25, 19.8],
    512: [5.97, 13.12, 10.25, 39.85],
    768: [10.11, 19.57, 15.3, 59.54],
    1024: [13.08, 25.76, 19.64, 78.67],
  },
  destination: {
    128: [2.07, 4.1, 3.43, 11.08],
    256: [4.67, 8.33, 7.58, 21.93],
    512: [9.25, 17.44, 15.47, 43.25],
    768: [13.7, 25.84, 22.88, 64.72],
    1024: [18.31, 36.45, 30.06, 88.28],
  },
};

/** Table 6.4: the RAM and a disk, whose size is not known here. */
export const table64: Readonly<Record<"source" | "destination", ThesisRows>> = {
  source: {
    128: [13.62, 32.52, 24.57, 95.79],
    256: [16.13, 35.68, 26.99, 108.96],
    512: [20.03, 41.6, 31.99, 127.56],
    768: [23.5, 47.79, 37.27, 147.66],
    1024: [26.71, 54.23, 42.07, 167.64],
  },
  destination: {
    128: [22.73, 40.35, 37.4, 109.12],
    256: [25.47, 47.02, 39.48, 120.31],
    512: [29.97, 54.72, 46.91, 143.18],
    768: [35.33, 62.09, 56.29, 166.41],
    1024: [39.94, 76.58, 63.12, 183.68],
  },
};

/** How much RC4 adds to insecure's total time by the thesis, in seconds, at every size. */
export const thesisAddedSeconds = { low: 8, high: 13 } as const;

/** What RC4 adds to the total time, as a part of insecure's, by RAM size in MB ("about"). */
export const thesisAddedPart = {
  withoutDisk: { 128: 0.32, 1024: 0.1 },
  withDisk: { 128: 0.2, 1024: 0.07 },
} as const;

/** The thesis's claims in its own order, shortened; claims.ts judges each. */
export const thesisClaims = [
  "client and server CPU time, and the CPU time of each single operation, grow in direct proportion to the RAM size",
  "without encryption, reads and writes take most of the CPU time",
  "with encryption, cryptographic operations plus read and write calls take more than 90 percent of the CPU time",
  "RC4 costs over 50 percent more CPU than insecure; 128-bit AES nearly twice the insecure CPU; 3DES far more",
  "the share of each operation (encryption, HMAC using SHA, read, write) is consistent across runs for one cipher and RAM size",
  "total migration time is 8 s to 13 s higher for the secure protocol with RC4 than insecure, whatever the RAM size; much of it is secure connection set-up",
  "overhead in total time falls from about 32 percent (128 MB) to about 10 percent (1024 MB) without disk, and from about 20 to about 7 percent with disk",
  "the migration modules are meant to be multi-threaded, to move several VMs at once",
] as const;
