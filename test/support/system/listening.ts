/** Waiting for somebody else's socket. */
import { callSocket } from "./unix-socket.ts";
import { until } from "./until.ts";

/** Waits until somebody listens at a path: the file is there a moment before. */
export async function listening(path: string): Promise<void> {
  await until(
    async () => {
      try {
        (await callSocket(path)).destroy();
        return true;
      } catch {
        return false;
      }
    },
    `somebody to listen at ${path}`,
    60_000,
  );
}
