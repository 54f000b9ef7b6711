/** What must be so once a domain has left a host for another: it is whole there, and nothing of it is left here. */
import { expect } from "bun:test";
import { existsSync, lstatSync, readdirSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { sessionsIn } from "../moves/ownership.ts";
import { doneOf } from "../moves/whole-move.ts";
import type { MovingHost } from "./moving-hosts.ts";

export interface MovedDomain {
  from: MovingHost;
  to: MovingHost;
  name: string;
  /** What becomes of its files here: they are renamed where it is absent. */
  after?: "keep" | "rename" | "delete";
  /** Its own files, with the paths that they had at the source. */
  files?: readonly string[];
}

/** Moves the domain, as `send` with these flags does, and throws (by `expect`) where it has not moved as a whole. */
export async function moveDomain(moved: MovedDomain, ...flags: string[]): Promise<string[]> {
  const { from, to, name, after = "rename", files = [] } = moved;
  const isPersistent = (await from.libvirt.virsh("dominfo", name)).match(/^Persistent:\s+yes$/m) !== null;
  const sending = from.send(name, to, "--after", after, ...flags);
  const { session } = await doneOf(sending);
  expect((await from.libvirt.tryVirsh("domstate", name)).code, `${name} is not known here any more`).toBe(1);
  for (const path of files.map((path) => from.libvirt.outside(path))) {
    expect(existsSync(path), path).toBe(after === "keep");
    expect(existsSync(`${path}.migrated`), `${path}.migrated`).toBe(after === "rename");
  }
  expect(sessionsIn(from.home, "source").at(-1)).toMatchObject({ session, state: "confirmed", settled: 1 });
  expect(sessionsIn(to.home, "destination").at(-1)).toMatchObject({ session, state: "closed", settled: 1 });
  const info = await to.libvirt.virsh("dominfo", name);
  expect(/^Persistent:\s+yes$/m.test(info), "whether it has a definition").toBe(isPersistent);
  expectNothingLeft(moved, session);
  // What it said of the domain.
  return sending.events.flatMap((event) => (event.event === "notice" ? [String(event.message)] : []));
}

/** Sockets, the image of its memory, what was put aside, staging folders, and what it had in the sender's store. */
function expectNothingLeft({ from, to, name }: MovedDomain, session: string): void {
  for (const { libvirt } of [from, to]) {
    const sockets = libvirt.outside("/run/migrate");
    expect(existsSync(sockets) ? readdirSync(sockets).filter((own) => session.startsWith(own)) : []).toEqual(
      [],
    );
  }
  const saved = from.libvirt.outside("/var/lib/libvirt/qemu/save");
  expect(readdirSync(saved).filter((file) => file.startsWith(name))).toEqual([]);
  expect([from.inStore(), linksTo(from, name)]).toEqual([expect.not.arrayContaining([name]), []]);
  expect(to.inStore()).not.toContain(`.migrate-${session}`);
  const inFolder = readdirSync(`${to.store}/${name}`);
  expect(inFolder.filter((file) => file.startsWith("memory."))).toEqual([]);
}

/** The links in a host's store that lead to the folder of a domain of that name. */
export function linksTo(host: MovingHost, name: string): string[] {
  const target = (file: string) => (lstatSync(file).isSymbolicLink() ? readlinkSync(file) : "");
  return host.inStore().filter((file) => target(join(host.store, file)) === join(host.store, name));
}

/** The path that a file of a domain has at its destination. */
export function landedPath(to: MovingHost, name: string, path: string): string {
  return `${to.store}/${name}/${basename(path)}`;
}
