/** What is behind a VM's network cards, as a flag's value. */
import { expect, test } from "bun:test";
import { parseNetPolicy } from "../../../src/commands/cli/net-policy.ts";
import { refusalOf } from "../../support/system/refusals.ts";

const bridge = (name: string) => ({ kind: "bridge", bridge: name }) as const;

test.each([
  ["user", { kind: "user" }],
  ["none", { kind: "none" }],
  ["bridge:br0", bridge("br0")],
  ["0=user", { kind: "none", cards: [{ card: 0, behind: { kind: "user" } }] }],
  ["user,1=none", { kind: "user", cards: [{ card: 1, behind: { kind: "none" } }] }],
  [
    "0=bridge:br0,52:54:00:AA:bb:01=bridge:br1,bridge:br2",
    {
      ...bridge("br2"),
      cards: [
        { card: 0, behind: bridge("br0") },
        { card: "52:54:00:aa:bb:01", behind: bridge("br1") },
      ],
    },
  ],
] as const)("%s", (text, policy) => {
  expect(parseNetPolicy(text)).toEqual(policy as ReturnType<typeof parseNetPolicy>);
});

test.each([
  ["", "must be user"],
  ["tap", "must be user"],
  ["bridge:", "must be user"],
  ["bridge:br0/../x", "must be user"],
  ["bridge:longer-than-linux-takes", "must be user"],
  ["user,none", "two things for all"],
  ["0=", "must be user"],
  ["=user", "must name a card"],
  ["-1=user", "must name a card"],
  ["n0=user", "must name a card"],
  ["0=user,0=none", "names card 0 twice"],
  ["52:54:00:aa:bb:01=user,52:54:00:AA:BB:01=none", "twice"],
] as const)("%s is refused", (text, named) => {
  expect(refusalOf(() => parseNetPolicy(text), "usage").message).toContain(named);
});
