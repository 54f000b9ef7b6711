/** What a destination says of itself: where it is reached, and what a source types to come. */
import { type ListenAddress, listenText } from "../../../channel/address.ts";
import { reachableAt } from "./reachable.ts";

export interface Announcement {
  /** Where it listens, with commas between. */
  address: string;
  /** By which addresses others reach it, at least one, the likeliest first. */
  addresses: string[];
  /** The line for the source, with a ticket to be asked for, or on an insecure link without. */
  command: string;
}

/** Takes at least one place, with the ports that they have. */
export async function announcementOf(
  places: readonly ListenAddress[],
  { insecure }: { insecure: boolean },
): Promise<Announcement> {
  const addresses = await reachableAt(places);
  return {
    address: places.map(listenText).join(", "),
    addresses,
    command: `migrate send VM ${addresses[0]} ${insecure ? "--insecure" : "--ticket -"}`,
  };
}
