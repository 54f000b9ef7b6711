/** How the commands for VMs that lie on this host are told which one is meant. */
import { optional } from "../cli/option.ts";

/** What the help says of NAME; `findVm` reads it. */
export const nameAbout =
  "Name of a VM that lies here, in a store that this host knows; or the path of its folder, with a slash in it";

export const storeOption = optional("DIR", "Look in this folder of migrate serve alone");
