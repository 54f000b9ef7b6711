/** The flag `--attest` of `migrate profile`: a measurement of its own, that shares runs, seed and the other host with the rest. */
import { addressText } from "../../channel/address.ts";
import type { Reporter } from "../../terminal/reporter.ts";
import { RunBar } from "../../terminal/run-bar.ts";
import type { usageErrors } from "../cli/arguments.ts";
import { homeOf, passphraseFrom, type World } from "../cli/context.ts";
import { type Called, openHost } from "../cli/ssh-host.ts";
import { hasTicket, type ticketFrom } from "../cli/ticket-input.ts";
import { attestText, measureAttest, usualAttest } from "./profile-attest.ts";

export interface AttestCall {
  /** Errors of usage, as `migrate profile` has them. */
  refuse: ReturnType<typeof usageErrors>;
  options: Parameters<typeof ticketFrom>[1] & {
    [flag in "thesis" | "compare"]: boolean;
  } & { [flag in "disk" | "suites" | "out" | "resume" | "replay"]: unknown } & {
    ram: number[] | undefined;
    runs: number | undefined;
    seed: number;
    engine: "thesis" | "full";
    to: Called | undefined;
    passphraseFile: string | undefined;
  };
  vm: string | undefined;
  world: World;
  reporter: Reporter;
}

/** Measures, and tells. Throws MigrateError "usage" for flags that are about the other measurements, and as `measureAttest`. */
export async function profileAttest({ refuse, options, vm, world, reporter }: AttestCall): Promise<void> {
  const { thesis: isThesis, compare, engine, ram, runs, seed, to } = options;
  const others = [options.disk, options.suites, options.out, options.resume, options.replay, vm];
  if (isThesis || compare || engine === "full" || others.some((value) => value !== undefined))
    throw refuse(
      "--attest goes with --to, --ram, --runs and --seed alone",
      "It measures moves over tls, with proofs and without.",
    );
  if (ram !== undefined && (ram.length > 1 || to !== undefined))
    throw refuse(
      "--attest moves a VM of one size, and none with --to",
      "What proofs cost does not depend on it.",
    );
  if (hasTicket(options))
    throw refuse("--ticket is not for --attest", "Record that host first: migrate attest record.");
  const home = to === undefined ? "" : homeOf(world);
  const passphrase = passphraseFrom(world, options.passphraseFile);
  const host = to && openHost(to, { home, passphrase, via: "direct", attest: true }, { world, reporter });
  const bar = reporter.json ? undefined : new RunBar({ ...world, output: world.stderr });
  try {
    const cost = await measureAttest({
      ...{ self: world.self, env: world.env, runs: runs ?? usualAttest.runs },
      ...{ ramBytes: ram?.[0] ?? usualAttest.ramBytes, seed },
      to: host && {
        ...{ home, passphrase, address: host.address, way: host.way, called: addressText(host.address) },
        notice: (message: string) => reporter.note(message),
      },
      progress: (run, done, all) => bar?.update({ done, all, label: run, leftMs: undefined }),
      signal: world.interrupts(reporter),
    });
    bar?.close();
    const width = world.stdout.isTTY ? world.size().columns : 160;
    reporter.result({ event: "attest-cost", ...cost }, attestText(cost, width));
  } finally {
    bar?.close();
    await host?.close();
  }
}
