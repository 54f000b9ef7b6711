/** The hosts that the hostile tests of a file attack: made once for all of them, left after each, closed at last. */
import { afterAll, afterEach, beforeAll } from "bun:test";
import { HostileArrivals } from "./hostile-arrivals.ts";
import { HostileGround } from "./hostile-ground.ts";
import { TrickedSource } from "./tricked-source.ts";

/** What `take` is to do in all of these: keep it, and make what else the tests of the file share. */
interface Place {
  leave(): unknown;
  close(): unknown;
}

function testsShare<P extends Place>(make: () => Promise<P>, take: (place: P) => unknown): void {
  let place: P | undefined;
  beforeAll(async () => {
    place = await make();
    await take(place);
  });
  afterEach(() => place?.leave());
  afterAll(() => place?.close());
}

/** A destination for all tests of the file. */
export function testsAttackDestination(
  options: Parameters<typeof HostileGround.make>[0],
  take: (ground: HostileGround) => unknown,
): void {
  testsShare(() => HostileGround.make(options), take);
}

/** The same with a destination that really starts QEMU. */
export function testsAttackRunningDestination(take: (at: HostileArrivals) => unknown): void {
  testsShare(() => HostileArrivals.make(), take);
}

/** A source for all tests of the file, with destinations that mean harm. */
export function testsAttackSource(take: (source: TrickedSource) => unknown): void {
  testsShare(() => TrickedSource.make(), take);
}
