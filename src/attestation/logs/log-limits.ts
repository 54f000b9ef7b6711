/** How long a log may be, and how much may be in it: held against before anything is read or allocated. Pure. */

export const logLimits = {
  /** A PC's firmware writes 20 to 200 KiB; the kernel keeps what the firmware reserved, 64 KiB to 1 MiB. */
  eventLogBytes: 4 * 1024 * 1024,
  /** Some 100 to 2000 are usual. */
  events: 16_384,
  /** Hash algorithms that a log's head may name; a TPM has five banks at most today. */
  algorithms: 16,
  /** IMA's list grows as long as its host runs: some 130 bytes a file that was measured. */
  imaLogBytes: 32 * 1024 * 1024,
  imaEntries: 300_000,
  /** TCG_EVENT_NAME_LEN_MAX of the kernel's security/integrity/ima/ima.h. */
  templateNameBytes: 255,
  /** Of what a log says of an event, in characters that are shown. */
  wordsChars: 200,
} as const;
