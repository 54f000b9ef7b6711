/** What a provider throws if a VM that was released goes on at the source: `Provider.withdraw`. */

/**
 * The VM runs here, and was never withdrawn, so that its destination cannot have heard of the release: it stays.
 */
export class StillHere extends Error {
  constructor(message: string) {
    super(message);
    this.name = "StillHere";
  }
}
