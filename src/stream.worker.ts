/** Entry of a Worker of streams: see transfer/streams/stream-sender.ts. */
import { closeSync } from "node:fs";
import { StreamCompressor } from "./transfer/streams/stream-compressor.ts";
import type { FromStreams, StreamRoute, ToStreams } from "./transfer/streams/stream-messages.ts";
import { StreamSender } from "./transfer/streams/stream-sender.ts";

const senders = new Map<number, StreamSender>();
let start: { route: StreamRoute; compressor: StreamCompressor } | undefined;

const post = (message: FromStreams) => postMessage(message);

addEventListener("message", (event) => {
  const message = (event as MessageEvent<ToStreams>).data;
  switch (message.kind) {
    case "route": {
      const { route, mostLevel } = message;
      start = { route, compressor: new StreamCompressor(route.compression, { mostLevel }) };
      break;
    }
    case "open": {
      if (start === undefined) {
        closeSync(message.fd);
        break;
      }
      const { stream, bandwidthBytesPerSec } = message;
      const sender = new StreamSender({ ...start, stream, bandwidthBytesPerSec, post });
      senders.set(stream, sender);
      void sender.run(message.fd);
      break;
    }
    case "rate":
      senders.get(message.stream)?.pace(message.bandwidthBytesPerSec);
      break;
    case "drop":
      for (const sender of senders.values()) sender.close();
      // A descriptor that was only just taken over is closed in its turn of the loop.
      setTimeout(() => post({ kind: "dropped" }));
      break;
  }
});
