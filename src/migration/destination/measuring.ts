/**
 * Being measured against: a source that this destination trusts asks for a process that takes what a
 * profile sends and discards it. What measures is handed in; this knows who may ask, how often, and that
 * nothing is left running once the asker has gone.
 */
import { MigrateError } from "../../protocol/errors.ts";
import type { MessageBody } from "../../protocol/messages.ts";
import type { Observer } from "../report/events.ts";
import type { Asker } from "./destination-session.ts";

export interface MeasuringRequest {
  /** The fingerprint that the measuring source's certificate will have. */
  source: string;
  /** Largest number of bytes of one run. */
  mostBytes: number;
}

/** A process that waits to be measured against. */
export interface MeasuringProcess {
  /** Of the door with TLS, and of the one without. */
  port: number;
  plainPort: number;
  /** The fingerprint that its certificate has. */
  destination: string;
  /** 32 bytes. */
  secret: Buffer;
  close(): Promise<void>;
}

/** Starts one. Throws MigrateError. */
export type StartMeasuring = (request: MeasuringRequest) => Promise<MeasuringProcess>;

export class Measuring {
  readonly #start: StartMeasuring | undefined;
  readonly #observe: Observer;
  #busy = false;
  #process: MeasuringProcess | undefined;

  /** Without `start` every request is refused. */
  constructor(start: StartMeasuring | undefined, observe: Observer) {
    this.#start = start;
    this.#observe = observe;
  }

  /**
   * Answers PROFILE of a trusted asker. The process ends with the asker's connection. Throws MigrateError
   * "policy" where nobody may measure, "busy" where somebody does.
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

  /** Ends what is running. */
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
