/** Entry of the indexer's Worker: see transfer/reuse/store/indexer.ts. */
import { runInBackground } from "./platform/background.ts";
import { Indexer } from "./transfer/reuse/store/indexer.ts";
import type { FromIndexer, ToIndexer } from "./transfer/reuse/store/indexer-messages.ts";

let indexer: Indexer | undefined;

const post = (message: FromIndexer) => postMessage(message);

addEventListener("message", (event) => {
  const message = (event as MessageEvent<ToIndexer>).data;
  switch (message.kind) {
    case "start": {
      runInBackground();
      const { everyMs, ...options } = message;
      const started = new Indexer({ ...options, nowMs: Date.now, post });
      indexer = started;
      setInterval(() => void started.scan(), everyMs);
      void started.scan();
      break;
    }
    case "scan":
      void indexer?.scan();
      break;
    case "pause":
      indexer?.pause();
      break;
    case "resume":
      indexer?.resume();
      break;
    case "stop":
      void indexer?.stop().finally(() => post({ kind: "stopped" }));
      break;
  }
});
