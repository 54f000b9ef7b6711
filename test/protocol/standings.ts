/** All standings that a peer can have, for tests that go through them. */
import type { Standing } from "../../src/protocol/frames.ts";

export const standings: readonly Standing[] = [
  "stranger",
  "control",
  "lane-source",
  "lane-destination",
  "stream-source",
  "stream-destination",
];
