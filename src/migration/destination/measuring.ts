/**
 * Lets trusted sources measure against this destination: starts a process that receives what the source's
 * profiler sends, and discards it. How that process measures is passed in; this class knows who may ask and
 * how often, and that nothing is left running once the asker is gone.
 */
import { MigrateError } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { Observer } from "../report/events.ts";
import type { Asker } from "./peers/asker.ts";

export interface MeasuringRequest {
  /** The fingerprint that the measuring source's certificate will have. */
  source: string;
  /** How many bytes one run may send at most. */
  mostBytes: number;
}

/** A process that waits for the measuring source. */
export interface MeasuringProcess {
  /** The TCP ports with TLS and without. */
  port: number;
  plainPort: number;
  /** The fingerprint of its certificate. */
  destination: string;
  /** 32 bytes. */
  secret: Buffer;
  close(): Promise<void>;
}

/** Starts such a process. Throws MigrateError. */
export type StartMeasuring = (request: MeasuringRequest) => Promise<MeasuringProcess>;

export class Measuring {
  readonly #start: StartMeasuring | undefined;
  readonly #observe: Observer;
  #busy = false;
  #process: MeasuringProcess | undefined;

  /** If `start` is undefined, every request is refused. */
  constructor(start: StartMeasuring | undefined, observe: Observer) {
    this.#start = start;
    this.#observe = observe;
  }

  /**
   * Answers a trusted asker's PROFILE. The process ends with the asker's connection. Throws MigrateError
   * "policy" if nobody may measure, "busy" if another source does, and what `start` throws.
   */
  async begin(asker: Pick<Asker, "link" | "peer" | "remote">, body: MessageBody<"profile">): Promise<void> {
    const { link } = asker;
    if (this.#start === undefined) {
      throw new MigrateError("policy", "the destination does not let itself be measured against", {
        side: "destination",
      });
    }
    if (this.#busy) {
      throw new MigrateError("busy", "the destination is being measured against already", {
        side: "destination",
      });
    }
    this.#busy = true;
    try {
      const process = await this.#start({ source: body.source, mostBytes: body.bytes });
      this.#process = process;
      link.onClosed(() => void this.#end(process));
      const { destination, port, plainPort, secret } = process;
      link.send("profiling", { destination, port, plainPort, secret: secret.toString("hex") });
      this.#observe({
        event: "notice",
        message: `${asker.remote} measures against this host, on ports ${port} and ${plainPort}`,
      });
    } finally {
      if (this.#process === undefined) this.#busy = false;
    }
  }

  /** Ends the process, if there is one. */
  async stop(): Promise<void> {
    if (this.#process) await this.#end(this.#process);
  }

  async #end(process: MeasuringProcess): Promise<void> {
    if (this.#process !== process) return;
    this.#process = undefined;
    await process.close();
    this.#busy = false;
  }
}
