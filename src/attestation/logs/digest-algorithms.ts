/** The hash algorithms of TPM 2.0 that logs have digests of: TCG Algorithm Registry, TPM_ALG_ID. Pure. */

export const digestAlgorithms = {
  sha1: { id: 0x0004, bytes: 20 },
  sha256: { id: 0x000b, bytes: 32 },
  sha384: { id: 0x000c, bytes: 48 },
  sha512: { id: 0x000d, bytes: 64 },
  sm3_256: { id: 0x0012, bytes: 32 },
} as const;

export type DigestAlgorithm = keyof typeof digestAlgorithms;

const names = Object.keys(digestAlgorithms) as DigestAlgorithm[];

/** The algorithm of this id; undefined for one that is not known here, whose digests are passed over by their size. */
export function algorithmOf(id: number): DigestAlgorithm | undefined {
  return names.find((name) => digestAlgorithms[name].id === id);
}
