/** The program itself: the compiled binary on either host. They are paired beforehand, as libvirt has its keys. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { builtBinary, runMigrate } from "../../support/system/process.ts";
import type { LibvirtContender } from "./contender.ts";
import { domainName } from "./moved-domain.ts";

/** `flags` are for both sides, `sendFlags` for the one that sends. */
export function ours(
  name: string,
  title: string,
  { flags = [], sendFlags = [] }: { flags?: readonly string[]; sendFlags?: readonly string[] } = {},
): LibvirtContender {
  return {
    name,
    title,
    needs: [{ program: builtBinary }],
    async prepare({ source, destination, address }, _domain, folder) {
      const store = join(folder, "store");
      mkdirSync(store);
      const listen = ["--listen", `${address}:0`, "--store", store];
      const serve = runMigrate(["serve", ...listen, "--libvirt", ...flags, "--json"], {
        home: join(folder, "destination-home"),
        binary: destination.command([builtBinary]),
      });
      const here = (words: readonly string[]) =>
        runMigrate([...words, ...flags, "--json"], {
          home: join(folder, "source-home"),
          binary: source.command([builtBinary]),
        });
      try {
        const { address: listening, ticket } = await serve.waitFor("listening");
        const vm = [`libvirt:${domainName}`, listening];
        if (ticket !== undefined) {
          const asked = here(["explain", ...vm, "--ticket", ticket]);
          const { code } = await asked.exit;
          if (code !== 0)
            throw new Error(`migrate explain ended with ${code}: ${asked.stdout()}${asked.stderr()}`);
        }
        return {
          start() {
            const send = here(["send", ...vm, ...sendFlags]);
            return {
              exit: send.exit,
              cpuMs: () => send.cpuMs(),
              said: () => `${send.stderr()}${JSON.stringify(send.events.at(-1))}`,
              kill: () => send.kill(),
            };
          },
          async cleanUp() {
            await serve.kill();
          },
        };
      } catch (error) {
        await serve.kill();
        throw error;
      }
    },
  };
}
