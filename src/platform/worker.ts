/** Where a Worker's code is: beside the sources, or inside the compiled binary. */

export type WorkerName = "door" | "indexer" | "lane" | "stream";

/** The folder that a compiled binary shows its own files in. */
const compiledRoot = "/$bunfs/";

/**
 * Address of the Worker's file. Given by full path in both cases: a relative name would be looked up
 * in the working directory, where a stranger's file may lie. `main` is Bun.main.
 */
export function workerAddress(name: WorkerName, main: string): string {
  if (main.startsWith(compiledRoot)) return `${compiledRoot}root/${name}.worker.ts`;
  return new URL(`../${name}.worker.ts`, import.meta.url).href;
}

/** Starts a Worker. Listen to its `error`: a Worker whose file is missing reports it there and nowhere else. */
export function spawnWorker(name: WorkerName): Worker {
  return new Worker(workerAddress(name, Bun.main));
}
