/** Loop devices and what is mounted from them, for tests that run as root; all are gone after `close`. */
import { runChild } from "./child.ts";

export class LoopDevices {
  readonly #devices: string[] = [];
  readonly #mounted: string[] = [];

  /** A new device on a file; more words for losetup(8) come before it. Returns its path. */
  async attach(file: string, ...words: string[]): Promise<string> {
    const device = (await runChild(["losetup", ...words, "--find", "--show", file])).trim();
    this.#devices.push(device);
    return device;
  }

  /** Mounts a device on a folder. */
  async mount(device: string, folder: string): Promise<void> {
    await runChild(["mount", device, folder]);
    this.#mounted.push(folder);
  }

  /** Takes it off again. */
  async unmount(folder: string): Promise<void> {
    await runChild(["umount", folder]);
    this.#mounted.splice(this.#mounted.indexOf(folder), 1);
  }

  async close(): Promise<void> {
    for (const folder of [...this.#mounted].reverse()) await this.unmount(folder);
    for (const device of this.#devices.splice(0)) await runChild(["losetup", "-d", device]);
  }
}
