/**
 * One run on the destination: from the request to the figures. What comes on the lane is verified,
 * decrypted, digested and written, all by this one thread.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { asMigrateError, MigrateError } from "../../protocol/errors.ts";
import type { Suite } from "../statistics/suite.ts";
import type { SideAccount, SideResult } from "./account/side-account.ts";
import type { MeasuredSocket } from "./records/measured-socket.ts";
import { ReceivedOutput } from "./records/received-output.ts";
import { recordKeys } from "./records/record-keys.ts";
import { RecordOpener } from "./records/record-layer.ts";
import { recordProtection } from "./records/record-protection.ts";
import { StreamDigest } from "./records/stream-digest.ts";

/** How long the lane may be silent after the source has reported that everything is sent. */
const usualStallMs = 10_000;

export interface ReceivingOptions {
  suite: Suite;
  /** The exporter value of the run's control connection; empty for a suite without keys. */
  exporter: Buffer;
  digestKey: Buffer;
  fileBytes: readonly number[];
  folder: string | null;
  account: SideAccount;
  stallMs?: number;
}

export class ReceivingRun {
  /** What a lane sends to prove that it belongs to this run. */
  readonly laneToken = randomBytes(16);
  /** The lane has to be TLS. */
  readonly wantsTls: boolean;
  readonly #account: SideAccount;
  readonly #output: ReceivedOutput;
  readonly #digest: StreamDigest;
  readonly #opener: RecordOpener | undefined;
  readonly #stallMs: number;
  readonly #done = Promise.withResolvers<SideResult>();
  #lane: MeasuredSocket | undefined;
  #announced: { bytes: number; digest: string } | undefined;
  #watch: Timer | undefined;
  #over = false;

  /** Throws MigrateError "store-failed" or "no-room". */
  constructor(options: ReceivingOptions) {
    const { suite, exporter, account } = options;
    this.#account = account;
    this.#stallMs = options.stallMs ?? usualStallMs;
    this.#digest = new StreamDigest(options.digestKey);
    this.wantsTls = suite.lane.kind === "tls";
    if (suite.lane.kind !== "none" && suite.lane.kind !== "tls") {
      const context = { suite: suite.name, direction: "source to destination", lane: 0 } as const;
      const keys = recordKeys(exporter, context, suite.lane);
      const protection = recordProtection(suite.lane, keys, account.meter);
      this.#opener = new RecordOpener(protection, account.meter, (plain) => this.#take(plain));
    }
    this.#output = new ReceivedOutput(options.folder, options.fileBytes, account.meter);
    this.#done.promise.catch(() => {});
  }

  /** Resolves with the figures once both sides agree on every byte; rejects with what went wrong. */
  get result(): Promise<SideResult> {
    return this.#done.promise;
  }

  /** Whether a lane with this token belongs to this run. */
  knows(token: Buffer): boolean {
    return (
      this.#lane === undefined &&
      token.length === this.laneToken.length &&
      timingSafeEqual(token, this.laneToken)
    );
  }

  /** The lane is connected: the transfer begins. `first` are the bytes that came behind the token. */
  attach(lane: MeasuredSocket, first: Buffer): void {
    this.#lane = lane;
    lane.handler = {
      data: (bytes) => this.#received(bytes),
      closed: (error) => this.#laneClosed(error),
    };
    // The event loop reads from the socket between two calls of ours: that is what is under way there.
    this.#account.beginTransfer("socket-read");
    if (first.length > 0) lane.received(first);
  }

  /** The source has sent everything: so many bytes, with this digest. */
  sourceEnded(bytes: number, digest: string): void {
    this.#announced = { bytes, digest };
    this.#endIfWhole();
    this.#expectMore();
  }

  /** Gives it up. Harmless once it is over. */
  fail(error: MigrateError): void {
    if (this.#over) return;
    this.#end();
    this.#output.close();
    this.#done.reject(error);
  }

  /** Closes what is received; `whole` leaves the files as long as they were sent. */
  close(whole: boolean): void {
    this.#output.close(whole);
  }

  #received(bytes: Buffer): void {
    const { meter } = this.#account;
    try {
      meter.to("rest");
      if (this.#opener) this.#opener.push(bytes);
      else this.#take(bytes);
      if (this.#watch) this.#expectMore();
      this.#endIfWhole();
    } catch (thrown) {
      this.fail(asMigrateError(thrown));
    } finally {
      meter.to("socket-read");
    }
  }

  #take(plain: Buffer): void {
    const { meter } = this.#account;
    meter.to("verify");
    this.#digest.update(plain);
    meter.to("rest");
    this.#output.write(plain);
  }

  /** Ends the run once every byte has come and the source has reported how many there are. */
  #endIfWhole(): void {
    const announced = this.#announced;
    const { writtenBytes, totalBytes } = this.#output;
    const whole = writtenBytes === totalBytes && this.#opener?.ended !== false;
    if (this.#over || announced === undefined || !whole || this.#lane === undefined) return;
    const { meter } = this.#account;
    meter.to("verify");
    const digest = this.#digest.finish();
    meter.to("rest");
    if (announced.bytes !== totalBytes || announced.digest !== digest) {
      this.fail(
        new MigrateError("integrity", "what came is not what was sent: the digests differ", onDestination),
      );
      return;
    }
    const result = this.#account.end();
    this.#end();
    this.#done.resolve(result);
  }

  #laneClosed(error: MigrateError | undefined): void {
    if (this.#over) return;
    const { writtenBytes, totalBytes } = this.#output;
    if (error === undefined && writtenBytes === totalBytes && this.#opener?.ended !== false) return;
    const came = `the lane was closed after ${writtenBytes} of ${totalBytes} bytes`;
    this.fail(
      new MigrateError("network", error ? `${came}: ${error.message}` : came, {
        ...onDestination,
        cause: error,
      }),
    );
  }

  #expectMore(): void {
    clearTimeout(this.#watch);
    if (this.#over) return;
    this.#watch = setTimeout(() => {
      const { writtenBytes, totalBytes } = this.#output;
      const missing = `the source has sent everything, and only ${writtenBytes} of ${totalBytes} bytes are here`;
      this.fail(new MigrateError("integrity", missing, onDestination));
    }, this.#stallMs);
  }

  #end(): void {
    this.#over = true;
    clearTimeout(this.#watch);
    this.#lane?.destroy();
  }
}

const onDestination = { side: "destination" } as const;
