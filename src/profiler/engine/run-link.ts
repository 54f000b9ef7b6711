/**
 * The control connection of one run: messages (protocol/messages.ts) between the two measuring
 * processes, with the PINGs that every control connection has.
 */
import { ControlLink } from "../../channel/control-link.ts";
import type { Side } from "../../protocol/errors.ts";
import { MigrateError } from "../../protocol/errors.ts";
import { FrameDecoder } from "../../protocol/frames.ts";
import type { MeasuredSocket } from "./records/measured-socket.ts";

/** Longer than elsewhere: a side that computes sends nothing meanwhile. */
const timing = { pingMs: 5_000, silenceMs: 60_000 };

/** The link over a connection that stands. `first` is what has come on it already. */
export function openRunLink(socket: MeasuredSocket, peerSide: Side, first?: Buffer): ControlLink {
  let unsent: Buffer[] = [];
  let finishing = false;
  const flush = () => {
    for (let next = unsent[0]; next !== undefined; next = unsent[0]) {
      const taken = socket.write(next);
      if (taken < next.length) {
        unsent[0] = next.subarray(taken);
        return;
      }
      unsent.shift();
    }
    if (finishing) socket.finish();
  };
  const link = new ControlLink(
    {
      send: (frame) => {
        unsent.push(frame);
        flush();
      },
      finish: () => {
        finishing = true;
        flush();
      },
      destroy: () => socket.destroy(),
    },
    peerSide,
    timing,
  );
  const decoder = new FrameDecoder("control", (name, payload) => link.deliver(name, payload));
  const data = (bytes: Buffer) => {
    try {
      decoder.push(bytes);
    } catch (thrown) {
      link.fail(thrown);
    }
  };
  socket.handler = {
    data,
    drain: flush,
    closed: (error) => {
      unsent = [];
      link.lost(error ?? new MigrateError("network", `the ${peerSide} went away`, { side: peerSide }));
    },
  };
  if (first !== undefined) data(first);
  return link;
}
