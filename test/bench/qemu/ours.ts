/** The program itself: the compiled binary on either side, with new homes, so that pairing is in the time. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ArrivedGuest } from "../../support/guests/arrived-guest.ts";
import { builtBinary, type MigrateProcess, runMigrate } from "../../support/system/process.ts";
import type { QemuContender } from "./contender.ts";
import { cpuMsOf } from "./cpu-time.ts";
import { downtimeLimitMs } from "./native.ts";

const deadlineMs = 600_000;

export function ours(name: string, title: string, flags: string[]): QemuContender {
  return {
    name,
    title,
    async prepare(source, folder, link) {
      const [home, store] = [join(folder, "home"), join(folder, "store")];
      mkdirSync(store, { recursive: true });
      const listen = ["--listen", `${link.address}:0`];
      const serve = runMigrate(["serve", ...listen, "--store", store, "--qemu", "--allow-tcg", "--json"], {
        home,
        binary: [...link.destination, builtBinary],
      });
      const arrived = new ArrivedGuest(home, source.options.name);
      let send: MigrateProcess | undefined;
      const cleanUp = async (): Promise<void> => {
        await send?.kill();
        await serve.kill();
        await arrived.kill().catch(() => {});
      };
      try {
        const { address, ticket } = await serve.waitFor("listening");
        const target = [`qmp:${source.qmpPath}`, address, "--ticket", ticket ?? "", "--mode", "live"];
        const limit = ["--downtime-limit", `${downtimeLimitMs}ms`];
        return {
          async move() {
            send = runMigrate(["send", ...target, ...limit, ...flags, "--json"], {
              home: join(folder, "source-home"),
              binary: [...link.source, builtBinary],
            });
            const done: Record<string, unknown> = await send.waitFor("done", { deadlineMs });
            const number = (value: unknown): number | undefined =>
              typeof value === "number" ? value : undefined;
            return { downtimeMs: number(done.downtimeMs), ownSeconds: number(done.seconds) };
          },
          sourceCpuMs() {
            const cpu = send?.cpuMs();
            if (cpu === undefined) throw new Error("send's CPU time is not known before its end");
            return cpu.userMs + cpu.systemMs;
          },
          destinationCpuMs: () => cpuMsOf(serve.pid) + (arrived.pid === undefined ? 0 : cpuMsOf(arrived.pid)),
          async confirm(tick) {
            const { code } = (await send?.exit) ?? { code: null };
            if (code !== 0) throw new Error(`send ended with ${code}: ${send?.stderr()}`);
            await arrived.waitForTick(tick, 10_000);
          },
          cleanUp,
        };
      } catch (error) {
        await cleanUp();
        throw error;
      }
    },
  };
}
