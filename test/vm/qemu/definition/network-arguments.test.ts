/** What is behind a VM's cards at the destination: nothing, unless it says otherwise and the card had the like. */
import { describe, expect, test } from "bun:test";
import {
  cardOutcomes,
  commandLine,
  type NetPolicy,
  networkNotes,
} from "../../../../src/vm/qemu/definition/command-line.ts";
import { parseDefinition } from "../../../../src/vm/qemu/definition/definition.ts";
import { NetworkArguments } from "../../../../src/vm/qemu/definition/network-arguments.ts";
import { testPlace } from "../../../support/guests/qemu-place.ts";
import { refusalOf } from "../../../support/system/refusals.ts";

const none: NetPolicy = { kind: "none" };
const user: NetPolicy = { kind: "user" };
const bridge: NetPolicy = { kind: "bridge", bridge: "br0" };

const definitionOf = (words: readonly string[]) => parseDefinition(["qemu-system-x86_64", ...words]);
const line = (words: readonly string[], net: NetPolicy) =>
  commandLine(definitionOf(words), testPlace({ net }));
const valuesOf = (option: string, words: readonly string[], net: NetPolicy): string[] => {
  const command = line(words, net);
  return command.flatMap((word, at) => (word === option ? [command[at + 1]!] : []));
};
const netdev = (words: readonly string[], net: NetPolicy) => valuesOf("-netdev", words, net);
const refusal = (words: readonly string[], net: NetPolicy) => refusalOf(() => line(words, net));

const card = (backend: string, driver = "e1000", id = "n", mac = "") => [
  ...["-netdev", `${backend},id=${id}`],
  ...["-device", `${driver},netdev=${id}${mac === "" ? "" : `,mac=${mac}`}`],
];
const links = ["socket,listen=:1", "vde,sock=/x", "stream,addr.type=inet", "dgram", "l2tpv3"];
const hostDevices = ["tap,ifname=x,script=/etc/x", "bridge,br=br7", "vhost-user,chardev=c", "vhost-vdpa"];

// [MODEL-3]
describe("for all cards", () => {
  test("a user network reaches this host and its network only where that was said", () => {
    const words = card("user,hostfwd=tcp::22-:22,guestfwd=tcp:10.0.2.4:1-cmd:sh,net=10.0.3.0/24,smb=/");
    expect(netdev(words, none)).toEqual(["user,id=n,restrict=on,net=10.0.3.0/24"]);
    expect(netdev(words, user)).toEqual(["user,id=n,restrict=off,net=10.0.3.0/24"]);
    expect(netdev(words, bridge)).toEqual(["user,id=n,restrict=on,net=10.0.3.0/24"]);
  });

  test("one that reached nothing at the source reaches nothing here", () => {
    for (const restrict of ["restrict=on", "restrict=yes", "restrict=y"]) {
      for (const net of [none, user, bridge]) {
        expect(netdev(card(`user,${restrict}`), net)).toEqual(["user,id=n,restrict=on"]);
      }
    }
  });

  test("a host's device becomes a bridge where there is one for all, and else nothing", () => {
    for (const backend of hostDevices) {
      expect(netdev(card(backend), bridge)).toEqual(["bridge,id=n,br=br0"]);
      for (const net of [none, user]) expect(netdev(card(backend), net)).toEqual(["hubport,id=n,hubid=1"]);
    }
  });

  test("what has no counterpart, or had nothing behind it, has nothing", () => {
    for (const backend of [...links, "hubport,hubid=7"]) {
      for (const net of [none, user, bridge]) {
        expect(netdev(card(backend), net)).toEqual(["hubport,id=n,hubid=1"]);
      }
    }
  });

  test("cards that were on one hub are on none together", () => {
    const words = [...card("hubport,hubid=0", "e1000", "a"), ...card("hubport,hubid=0", "e1000", "b")];
    expect(netdev(words, user)).toEqual(["hubport,id=a,hubid=1", "hubport,id=b,hubid=2"]);
  });

  test("two bridges of the source never become one", () => {
    const two = [...card("bridge,br=br1", "e1000", "a"), ...card("bridge,br=br2", "e1000", "b")];
    expect(refusal(two, bridge)).toMatchObject({
      code: "policy",
      message: expect.stringContaining("more than one network"),
      hint: expect.stringContaining("0=bridge:br0,1=bridge:br1"),
    });
    // Of a tap device it is not known which bridge it is on.
    const taps = [...card("tap,ifname=a", "e1000", "a"), ...card("tap,ifname=b", "e1000", "b")];
    expect(refusal(taps, bridge).code).toBe("policy");
    const same = [...card("bridge,br=br1", "e1000", "a"), ...card("bridge,br=br1", "e1000", "b")];
    expect(netdev(same, bridge)).toEqual(["bridge,id=a,br=br0", "bridge,id=b,br=br0"]);
    const named: NetPolicy = { ...bridge, cards: [{ card: 1, behind: { kind: "bridge", bridge: "br9" } }] };
    expect(netdev(two, named)).toEqual(["bridge,id=a,br=br0", "bridge,id=b,br=br9"]);
    const onto: NetPolicy = { ...bridge, cards: [{ card: 1, behind: { kind: "bridge", bridge: "br0" } }] };
    expect(refusal(two, onto).code).toBe("policy");
  });

  test("QEMU may start its helper only where a card is on a bridge", () => {
    expect(valuesOf("-sandbox", card("tap"), bridge)).toEqual(["on,obsolete=deny,resourcecontrol=deny"]);
    for (const words of [["-nic", "none"], card("user"), card("socket,listen=:1")]) {
      expect(valuesOf("-sandbox", words, bridge)[0]).toContain("spawn=deny");
    }
  });

  test("the card that QEMU adds by itself stays on its user network", () => {
    expect(line([], user)).not.toContain("-nic");
    for (const net of [none, bridge]) expect(valuesOf("-nic", [], net)).toEqual(["user,restrict=on"]);
    expect(line(["-nodefaults"], bridge)).not.toContain("-nic");
  });
});

describe("card by card", () => {
  const macs = ["52:54:00:00:00:01", "52:54:00:00:00:02"] as const;
  const two = [
    ...card("socket,listen=:1", "e1000", "a", macs[0]),
    ...card("tap", "e1000", "b", "52:54:00:00:00:02"),
  ];
  const on = (which: number | string, behind: NetPolicy): NetPolicy => ({
    kind: "none",
    cards: [{ card: which, behind }],
  });

  test("each has what is said for it, by its number or its MAC address", () => {
    for (const which of [0, macs[0]]) {
      expect(netdev(two, on(which, user))).toEqual(["user,id=a,restrict=off", "hubport,id=b,hubid=2"]);
    }
    for (const which of [1, macs[1]]) {
      expect(netdev(two, on(which, bridge))).toEqual(["hubport,id=a,hubid=1", "bridge,id=b,br=br0"]);
    }
    expect(netdev(two, on("52:54:00:00:00:03", bridge))).toEqual([
      "hubport,id=a,hubid=1",
      "hubport,id=b,hubid=2",
    ]);
    expect(
      valuesOf("-nic", ["-nic", `tap,model=e1000,mac=${macs[0].toUpperCase()}`], on(macs[0], bridge)),
    ).toEqual([`bridge,br=br0,model=e1000,mac=${macs[0].toUpperCase()}`]);
  });

  test("one that was cut off is let out again, if it is named", () => {
    expect(netdev(card("user,restrict=on"), on(0, user))).toEqual(["user,id=n,restrict=off"]);
    expect(netdev(card("hubport,hubid=1"), on(0, bridge))).toEqual(["bridge,id=n,br=br0"]);
  });

  test("each that is on a bridge is handed its own tap device, of its own bridge, and nothing needs a helper", () => {
    const bridges: string[] = [];
    const tap = (name: string) => 199 + bridges.push(name);
    const words = [
      ...card("bridge,br=br1", "e1000", "a"),
      ...card("user", "e1000", "b"),
      ...card("tap", "e1000", "c"),
    ];
    const net: NetPolicy = {
      ...bridge,
      cards: [
        { card: 1, behind: user },
        { card: 2, behind: { kind: "bridge", bridge: "br9" } },
      ],
    };
    const definition = definitionOf(words);
    const command = commandLine(definition, testPlace({ net, tap }));
    expect(command.filter((_, at) => command[at - 1] === "-netdev")).toEqual([
      "tap,id=a,fd=200",
      "user,id=b,restrict=off",
      "tap,id=c,fd=201",
    ]);
    expect(bridges).toEqual(["br0", "br9"]);
    expect(command[command.indexOf("-sandbox") + 1]).toContain("elevateprivileges=deny,spawn=deny");
  });

  test("QEMU uses this host's network for a user network that reaches something, and for its helper", () => {
    const uses = (words: readonly string[], net: NetPolicy, tap?: () => number) =>
      new NetworkArguments(definitionOf(words), net, tap).usesHost;
    expect(uses(two, on(0, user), () => 3)).toBe(true);
    expect(uses(two, on(1, bridge))).toBe(true);
    expect(uses(two, on(1, bridge), () => 3)).toBe(false);
    expect(uses(card("user,restrict=on"), user)).toBe(false);
    expect(uses(card("user"), none)).toBe(false);
    expect(uses([], user)).toBe(true);
    expect(uses([], none)).toBe(false);
  });

  test("a user network, which is a part of the VM, cannot become a bridge", () => {
    expect(refusal(card("user"), on(0, bridge)).message).toContain("user network");
    expect(refusal([], on(0, bridge)).message).toContain("user network");
  });
});

test("a virtio card that has had a tap device goes nowhere else", () => {
  const words = card("tap", "virtio-net-pci");
  expect(netdev(words, bridge)).toEqual(["bridge,id=n,br=br0"]);
  for (const net of [user, none]) expect(refusal(words, net).message).toContain("tap device");
  expect(netdev(card("tap,vnet_hdr=off", "virtio-net-pci"), none)).toEqual(["hubport,id=n,hubid=1"]);
  expect(refusal(["-nic", "tap,model=virtio"], none).message).toContain("tap device");
});

test("a bridge has a name that is one", () => {
  const net: NetPolicy = { kind: "bridge", bridge: "br0,helper=/bin/sh" };
  expect(refusal(card("tap"), net)).toMatchObject({ code: "usage" });
});

test("what becomes of each card is said", () => {
  const words = [
    ...card("user,restrict=on", "e1000", "a", "52:54:00:00:00:01"),
    ...card("user", "e1000", "b"),
    ...card("bridge", "e1000", "c"),
  ];
  const definition = definitionOf(words);
  expect(cardOutcomes(definition, user)).toEqual(["none", "user", "none"]);
  expect(networkNotes(definition, cardOutcomes(definition, user))).toEqual([
    `The VM's network card 0 ("a", 52:54:00:00:00:01): a user network that reaches nothing at the source; at the destination nothing`,
    `The VM's network card 1 ("b"): QEMU's user network at the source; at the destination a user network, which reaches what that host reaches`,
    `The VM's network card 2 ("c"): a device of the host at the source; at the destination nothing`,
  ]);
});

test("nothing of the source's networks is in what it tells of a card, but what the guest knows", () => {
  const words = [
    "-netdev",
    "user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:17722-:22,guestfwd=tcp:10.0.2.100:1-cmd:/root/push --token=S3CRET,net=10.0.3.0/24,tftp=/srv,dns=10.0.3.9",
    ...[
      "-netdev",
      "tap,id=t,ifname=secret0,script=/etc/secret,br=secret1",
      "-netdev",
      "bridge,id=u,br=secret2",
    ],
    ...["-netdev", "socket,id=v,connect=192.0.2.7:5000", "-netdev", "vde,id=w,sock=/secret"],
  ];
  const { parts } = definitionOf(words);
  expect(JSON.stringify(parts)).not.toMatch(/secret|S3CRET|192\.0\.2|17722|push|\/srv/);
  expect(parts.map((part) => part.kind === "network" && part.network)).toEqual([0, 1, 2, 3, 4]);
});
