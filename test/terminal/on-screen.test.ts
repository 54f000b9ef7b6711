/** What a person sees of the compiled binary on a terminal of 80 columns. */
import { expect, test } from "bun:test";
import type { SmallVm } from "../support/files/small-vm.ts";
import { eachTestHasHosts } from "../support/moves/hosts-of-tests.ts";
import { sessionsIn } from "../support/moves/ownership.ts";
import type { TwoHosts } from "../support/moves/two-hosts.ts";
import { ctrlC, OnTerminal } from "./on-terminal.ts";

let vm: SmallVm;
let hosts: TwoHosts;

eachTestHasHosts(
  "migrate-screen-",
  (made) => {
    ({ vm, hosts } = made);
  },
  { insecure: true },
);

const insecure = ["--insecure"];
const slow = ["--bandwidth", "256K"];

const sendOnTerminal = (flags: string[] = []) =>
  OnTerminal.start(["send", vm.folder, hosts.proxy.addressText, ...insecure, ...slow, ...flags], {
    home: hosts.sourceHome,
  });

/** `migrate serve` on a terminal; the link leads there once it listens. */
async function serveOnTerminal(): Promise<OnTerminal> {
  const words = ["serve", "--listen", "127.0.0.1:0", "--store", hosts.store, ...insecure, "--index", "off"];
  const serve = OnTerminal.start(words, { home: hosts.destinationHome });
  await serve.shows("migrate send VM");
  const [, address = ""] = /Listening on (\S+),/.exec(serve.text) ?? [];
  hosts.reach({ address, ticket: undefined } as never);
  return serve;
}

test("Ctrl-C leaves neither a title nor a bar on the screen", async () => {
  await hosts.serve();
  const send = sendOnTerminal();
  await send.shows("total ");
  send.type(ctrlC);
  expect(await send.exit).toBe(130);
  expect(send.text).toContain("Interrupted: ending in good order");
  expect(send.text).toContain("error: interrupted; the VM stays here");
  expect(send.text).not.toContain("stop-and-copy\n");
  expect(send.text).not.toMatch(/total |█|░/);
});

test("a second Ctrl-C, which ends it at once, takes the bars off the screen as well", async () => {
  await hosts.serve();
  // What it waits for does not come: it cannot end in good order.
  const send = sendOnTerminal();
  await send.shows("total ");
  send.type(ctrlC + ctrlC);
  expect(await send.exit).toBe(130);
  expect(send.text).not.toMatch(/total |█|░/);
});

test("a move whose source has gone, and one that is cancelled, leave no bar at the destination", async () => {
  const serve = await serveOnTerminal();
  for (const _ of [1, 2]) {
    const send = hosts.send(vm.folder, slow);
    await serve.shows("total ");
    await send.kill("SIGKILL");
    await serve.shows("total ", { gone: true });
    await serve.shows("its source is not connected any more; waiting for it");
  }
  const send = hosts.send(vm.folder, slow);
  await serve.shows("total ");
  await send.kill("SIGINT");
  const { session } = sessionsIn(hosts.sourceHome, "source")[0]!;
  const given = hosts.source(["resolve", session, "--cancel", "--insecure"]);
  expect(await given.exit).toMatchObject({ code: 0 });
  await serve.shows("was cancelled");
  await serve.shows("total ", { gone: true });
  expect(serve.text).not.toMatch(/█|░/);
  serve.type(ctrlC);
  expect(await serve.exit).toBe(130);
});

test("status and history fit 80 columns, and show what resolve takes", async () => {
  await hosts.serve();
  const send = hosts.send(vm.folder, slow);
  await send.waitFor("progress");
  const { session } = sessionsIn(hosts.sourceHome, "source")[0]!;
  const look = async (words: string[]) => {
    const shown = OnTerminal.start(words, { home: hosts.sourceHome });
    expect(await shown.exit).toBe(0);
    return shown.screen.seen();
  };
  const status = await look(["status"]);
  expect(status[0]).toBe(session.slice(0, 12));
  expect(status[1]).toStartWith("  NAME web1  SIDE source  MODE move  ");
  expect(Math.max(...status.map((line) => line.length))).toBeLessThan(80);
  await send.kill("SIGINT");
  const given = hosts.source(["resolve", session, "--cancel", "--insecure"]);
  expect(await given.exit).toMatchObject({ code: 0 });
  expect(await look(["status"])).toEqual(["No session is under way here."]);
  const there = [hosts.proxy.addressText, ...insecure];
  expect((await look(["status", ...there])).slice(-1)).toEqual(["No session is under way there."]);
  for (const history of [await look(["history"]), await look(["history", ...there])])
    expect(history.join(" ")).toMatch(new RegExp(`${session.slice(0, 12)}.*STATE cancelled`));
});
