/**
 * A program that starts a QEMU as `migrate serve` does, with descriptors of its own open that no VM may
 * inherit, says "started" and stays until it is killed: `bun launch-qemu.ts HOME NAME OPTION…`.
 */
import { Database } from "bun:sqlite";
import { openSync } from "node:fs";
import { join } from "node:path";
import { UnixListener } from "../../../src/platform/unix-listener.ts";
import { startQemu } from "../../../src/vm/qemu/launch.ts";
import { RunFolder } from "../../../src/vm/qemu/run-folder.ts";

const [home = "", name = "", ...options] = process.argv.slice(2);
const database = new Database(join(home, "journal"));
database.run("create table session (id text)");
openSync(join(home, "disk"), "w");
UnixListener.listen(join(home, "listener"));
Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });

const run = RunFolder.at(home, name);
run.make("session-1");
const qmp = `unix:${run.socket("qmp")},server=on,wait=off`;
await startQemu(["qemu-system-x86_64", ...options, "-qmp", qmp], run);
process.stdout.write("started\n");
