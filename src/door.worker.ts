/** Entry of a door's Worker: see transfer/doors/door.ts. */
import { Door } from "./transfer/doors/door.ts";
import type { FromDoor, ToDoor } from "./transfer/doors/door-messages.ts";

const door = new Door((message: FromDoor) => postMessage(message));
addEventListener("message", (event) => door.handle((event as MessageEvent<ToDoor>).data));
