/** Who asks something of the destination, and on which connection. */
import type { ControlLink } from "../../../channel/control-link.ts";
import type { LinkReceipts } from "../../receipts/link-receipts.ts";

/** The connection and the peer that a request came from. */
export interface Asker {
  link: ControlLink;
  peer: string;
  /** Who it shares with: its host, or without authentication its address. */
  source: string;
  remote: string;
  /** The number of this connection among the source's connections for this session. */
  attempt: number;
  receipts: LinkReceipts;
  /** Whether this host has proven to the source what it runs, on this connection; absent if it cannot. */
  hasProven?: () => boolean;
  /** True once the connection is closed, or this process about to end. */
  isOver(): boolean;
}
