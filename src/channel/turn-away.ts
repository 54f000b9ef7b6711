/** Closing a connection so that the other side still learns why. */
import { encodeError } from "../protocol/messages.ts";
import type { FrameSocket } from "./frame-socket.ts";

/** How long a peer that was told to go may take to close its end as well. */
const lingerMs = 1000;

/** Sends ERROR and closes; whatever the peer still sends is not looked at. */
export function turnAway(link: FrameSocket, error: unknown): void {
  link.send(encodeError(error))?.catch(() => {});
  part(link);
}

/** Closes once all is sent; a peer that does not close in its turn is cut off. */
export function part(link: FrameSocket): void {
  link.mute();
  link.finish();
  setTimeout(() => link.destroy(), lingerMs).unref();
}
