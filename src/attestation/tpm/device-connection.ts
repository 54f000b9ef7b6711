/**
 * The TPM behind a character device of the kernel (drivers/char/tpm/tpm-dev-common.c): one write(2) is a command, read(2)
 * gives its answer. Both block, so they run on Bun's pool of threads; one that never ends is left there.
 */
import { constants, type FileHandle, open } from "node:fs/promises";
import { answerBytes, gone, messageMaxBytes, silent, type TpmConnection } from "./connection.ts";
import { TpmError } from "./response-code.ts";

const retryMs = 50;

/** Opens the device; where another program has it (EBUSY) again, for `patienceMs`. Throws TpmError. */
export async function connectDevice(path: string, patienceMs: number): Promise<TpmConnection> {
  const giveUpAtMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return new DeviceConnection(await open(path, constants.O_RDWR | constants.O_NOCTTY));
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== "EBUSY" || performance.now() > giveUpAtMs) throw unreachable(path, code, cause);
      await Bun.sleep(retryMs);
    }
  }
}

function unreachable(path: string, code: string | undefined, cause: unknown): TpmError {
  switch (code) {
    case "EBUSY":
      return new TpmError(`Another program holds this host's TPM (${path}).`, {
        hint: `Look which one, with fuser ${path}; /dev/tpmrm0 is shared by all.`,
        cause,
      });
    case "EACCES":
    case "EPERM":
      return new TpmError(`This user may not use this host's TPM (${path}).`, {
        hint: "Run migrate as root, or add the user to the group that the device belongs to (tss).",
        cause,
      });
    case "ENOENT":
    case "ENODEV":
    case "ENXIO":
      return new TpmError(`There is no TPM at ${path}.`, {
        hint: "Enable the TPM in the firmware's setup; dmesg says what the kernel has found.",
        cause,
      });
    default:
      return new TpmError(`This host's TPM (${path}) cannot be opened (${code ?? "unknown error"}).`, {
        hint: "dmesg says what the kernel knows of it.",
        cause,
      });
  }
}

class DeviceConnection implements TpmConnection {
  readonly #file: FileHandle;
  #isClosed = false;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async exchange(command: Buffer, timeoutMs: number): Promise<Buffer> {
    if (this.#isClosed) throw gone();
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(silent(timeoutMs)), timeoutMs);
    try {
      return await Promise.race([this.#ask(command), late.promise]);
    } catch (thrown) {
      this.close();
      throw thrown instanceof TpmError ? thrown : gone(thrown);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#file.close().catch(() => {});
  }

  async #ask(command: Buffer): Promise<Buffer> {
    const { bytesWritten } = await this.#file.write(command, 0, command.length, null);
    if (bytesWritten !== command.length) throw gone();
    // Older kernels drop what one read does not take, so it has room for the longest answer.
    let heard = Buffer.alloc(0);
    for (;;) {
      const piece = Buffer.alloc(messageMaxBytes);
      const { bytesRead } = await this.#file.read(piece, 0, piece.length, null);
      if (bytesRead === 0) throw gone();
      heard = Buffer.concat([heard, piece.subarray(0, bytesRead)]);
      const length = answerBytes(heard);
      if (length === null || heard.length < length) continue;
      return heard;
    }
  }
}
