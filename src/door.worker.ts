/** Entry of a door's Worker: see transfer/door.ts. */
import { Door } from "./transfer/door.ts";
import type { FromDoor, ToDoor } from "./transfer/lane-messages.ts";

const door = new Door((message: FromDoor) => postMessage(message));
addEventListener("message", (event) => door.handle((event as MessageEvent<ToDoor>).data));
