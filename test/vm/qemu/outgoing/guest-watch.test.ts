import { expect, test } from "bun:test";
import { MigrateError } from "../../../../src/protocol/errors.ts";
import { requireMovable } from "../../../../src/vm/qemu/outgoing/guest-watch.ts";

test("a VM in a run state that cannot be kept is refused, with what helps", () => {
  expect(["running", "io-error"].map(requireMovable)).toEqual([true, true]);
  expect(["paused", "postmigrate"].map(requireMovable)).toEqual([false, false]);
  for (const state of ["suspended", "shutdown", "guest-panicked", "prelaunch", "inmigrate", "watchdog"]) {
    const refusal = () => requireMovable(state);
    expect(refusal, state).toThrow(MigrateError);
    try {
      refusal();
    } catch (thrown) {
      expect((thrown as MigrateError).hint, state).toMatch(/[.]$/);
    }
  }
  expect(() => requireMovable("debug")).toThrow('in the state "debug"');
});
