/** Hosts with running VMs for the tests of a file; nothing of them outlives the test. */
import { afterAll, afterEach, beforeAll, beforeEach, test } from "bun:test";
import { FrozenGuest, type FrozenWishes } from "../guests/frozen-guest.ts";
import { guestIsBuiltFirst } from "../guests/guests-of-tests.ts";
import { DisturbedMove } from "./disturbed-move.ts";
import { RunningHosts } from "./running-hosts.ts";

const closeMs = 60_000;
/** The first run of all builds the guest. */
const firstMs = 300_000;

/** Gives each test two hosts that run the compiled binary and can have running VMs. */
export function eachTestHasRunningHosts(take: (at: RunningHosts) => void): void {
  let at: RunningHosts;
  guestIsBuiltFirst();
  beforeEach(async () => {
    at = await RunningHosts.make();
    take(at);
  });
  afterEach(() => at.close(), closeMs);
}

/** The same for tests that make their hosts themselves, one pair or more: gives what makes them. */
export function hostsOfEachTest(options: { insecure?: boolean } = {}): () => Promise<RunningHosts> {
  const opened: RunningHosts[] = [];
  guestIsBuiltFirst();
  afterEach(async () => {
    for (const at of opened.splice(0)) await at.close();
  }, closeMs);
  return async () => {
    const at = await RunningHosts.make(options);
    opened.push(at);
    return at;
  };
}

/** Boots one guest for all tests of a file, which is thawed for each of them. `take` is called once it is there. */
export function testsShareFrozenGuest(take: (frozen: FrozenGuest) => void, options: FrozenWishes = {}): void {
  let frozen: FrozenGuest | undefined;
  beforeAll(async () => {
    frozen = await FrozenGuest.make(options);
    take(frozen);
  }, firstMs);
  afterAll(() => frozen?.remove());
}

export interface DisturbedMoves {
  /** Does its work with a running VM's move that is to be disturbed. */
  withMove(work: (move: DisturbedMove) => Promise<void>): Promise<void>;
  /** A test that is this work. */
  moveTest(what: string, work: (move: DisturbedMove) => Promise<void>): void;
}

/** Running VMs' moves that the tests of a file disturb; all begin from one frozen guest. A test may take a minute. */
export function disturbedMoves(wishes: FrozenWishes = {}): DisturbedMoves {
  let frozen: FrozenGuest;
  testsShareFrozenGuest((made) => {
    frozen = made;
  }, wishes);
  const withMove: DisturbedMoves["withMove"] = (work) => DisturbedMove.with(frozen, work);
  return { withMove, moveTest: (what, work) => test(what, () => withMove(work), 60_000) };
}
