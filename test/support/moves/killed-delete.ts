/** A process that deletes a VM, and is killed once so many of its files are gone: HOME FOLDER COUNT. */
import { deleteVm } from "../../../src/migration/operator/delete-vm.ts";

const [home = "", folder = "", count = "0"] = process.argv.slice(2);
let removed = 0;
await deleteVm({ home, folder }, () => {
  if (++removed === Number(count)) process.kill(process.pid, "SIGKILL");
});
