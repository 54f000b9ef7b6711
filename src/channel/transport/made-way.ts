/** A destination to which no way leads of itself: one has to be made before each connection, and may lead elsewhere each time. */
import type { Address } from "../address.ts";
import type { Ticket } from "../ticket.ts";

export interface Way {
  /** What people, the journal and the trust file call the destination. */
  readonly name: string;
  /** Where it is reached as long as nothing better is known; of the same name. */
  readonly address: Address;
  /**
   * Makes sure that the way is there, and returns where it leads now and a ticket for it. Throws MigrateError: "network"
   * if another try may succeed.
   */
  open(): Promise<{ address: Address; ticket: Ticket | undefined }>;
}
