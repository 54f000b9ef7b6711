/** Entry of a lane's Worker: see transfer/lanes/lane-sender.ts. */
import type { FromLane, ToLane } from "./transfer/lanes/lane-messages.ts";
import { LaneSender } from "./transfer/lanes/lane-sender.ts";

let lane: LaneSender | undefined;

addEventListener("message", (event) => {
  const message = (event as MessageEvent<ToLane>).data;
  switch (message.kind) {
    case "start":
      lane = new LaneSender(message, (reply: FromLane) => postMessage(reply));
      void lane.run();
      break;
    case "begin":
    case "redial":
      lane?.go(message.kind);
      break;
    case "look":
      lane?.look();
      break;
    case "drop":
      lane?.drop();
      postMessage({ kind: "dropped" } satisfies FromLane);
      break;
  }
});
