/** Hosts that ssh joins for the tests of a file, and what is often looked at there. */
import { afterEach, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { MigrationEvent } from "../../../src/migration/report/events.ts";
import type { SmallVm } from "../files/small-vm.ts";
import { hashOf } from "../files/small-vm.ts";
import type { MigrateProcess } from "../system/process.ts";
import { SshHosts, type SshHostsOptions } from "./ssh-hosts.ts";

/** Gives what makes hosts for a test of this file; they are closed after it. */
export function sshHostsOfEachTest(): (options?: SshHostsOptions) => Promise<SshHosts> {
  const made: SshHosts[] = [];
  afterEach(async () => {
    for (const hosts of made.splice(0)) await hosts.close();
  }, 60_000);
  return async (options) => {
    const hosts = await SshHosts.make(options);
    made.push(hosts);
    return hosts;
  };
}

/** The end of a send that moves its VM; throws with all that it said if it does not. */
export async function done(send: MigrateProcess): Promise<Extract<MigrationEvent, { event: "done" }>> {
  return await send.waitFor("done", { deadlineMs: 90_000 });
}

/** What it said beside its progress: notices and warnings. */
export function said(send: MigrateProcess): string {
  return send.events
    .filter(({ event }) => event === "notice" || event === "warning")
    .map((event) => (event as unknown as { message: string }).message)
    .join("\n");
}

/** The error that it ended with, and its exit code. */
export async function failure(send: MigrateProcess) {
  const { code } = await send.exit;
  const event = send.events.find((one) => one.event === "error") as
    | Extract<MigrationEvent, { event: "error" }>
    | undefined;
  return { exit: code, code: event?.code, message: event?.message ?? send.stderr(), hint: event?.hint ?? "" };
}

/** The VM lies in the store with every byte. `files` are what `makeSmallVm` gave, before they were moved. */
export function expectArrived(vm: SmallVm, store: string): void {
  expect(JSON.parse(readFileSync(join(store, vm.name, "vm.json"), "utf8")).name).toBe(vm.name);
  for (const file of vm.files) expect(hashOf(join(store, vm.name, file.base))).toBe(file.hash);
}
