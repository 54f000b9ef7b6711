/** A domain that arrives as files: it is known to this host's libvirt from the moment on that this host owns it. */
import { join } from "node:path";
import { MigrateError } from "../../../protocol/errors.ts";
import type { MessageBody } from "../../../protocol/messages.ts";
import type { Arrival, ArrivalOptions, Offered } from "../arrival.ts";
import type { LibvirtPolicy } from "./arriving-xml.ts";
import { type Landing, landDomain } from "./landing.ts";
import { configOf, type LibvirtConfig } from "./landing-host.ts";
import type { ArrivingLibvirtRecord } from "./libvirt-records.ts";

export interface ArrivingDomainOptions extends ArrivalOptions {
  offered: Offered;
  domain: ArrivingLibvirtRecord;
  policy: LibvirtPolicy | undefined;
}

export class ArrivingDomain implements Arrival {
  readonly isLive = false;
  readonly hasStreams = false;
  readonly streamed = [];
  readonly streams = undefined;
  readonly cards = undefined;
  readonly patienceMs = null;
  readonly #options: ArrivingDomainOptions;

  constructor(options: ArrivingDomainOptions) {
    this.#options = options;
  }

  async start(): Promise<MessageBody<"started">> {
    throw new MigrateError("bug", "a domain of files alone has nothing to start");
  }

  async seal({ streams = [] }: Pick<MessageBody<"seal">, "streams">): Promise<void> {
    if (streams.length === 0) return;
    throw new MigrateError("protocol", "the seal names streams, and the VM does not run");
  }

  async checkReady(): Promise<void> {}

  relink(): void {}

  async resume(): Promise<void> {
    await landDomain(this.#landing, this.#config);
  }

  async end(): Promise<void> {}

  leave(): void {}

  get #config(): LibvirtConfig {
    const { policy, home } = this.#options;
    return policy ?? configOf(home);
  }

  get #landing(): Landing {
    const { offered, domain, staging } = this.#options;
    const { store } = staging;
    return { name: offered.name, folder: join(store, offered.name), domain, store, session: offered.session };
  }
}
