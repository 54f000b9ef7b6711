/**
 * The product's own engine as a profile needs it. This folder may not know `migration/`, so whoever
 * starts a measuring process hands it in.
 */

export interface FullServe {
  home: string;
  store: string;
  insecure: boolean;
}

export interface FullServing {
  /** Port on 127.0.0.1. */
  port: number;
  /** For the first send; absent on an insecure one. */
  ticket?: string;
}

export interface FullSend {
  home: string;
  name: string;
  ram?: string;
  disks: string[];
  port: number;
  ticket?: string;
  insecure: boolean;
}

export interface FullEngine {
  /** Serves on a free port of this host until `end`. Throws MigrateError. */
  serve(options: FullServe): Promise<FullServing>;
  /** Copies a VM; calls `linked` once the connection stands. Throws MigrateError. */
  send(options: FullSend, linked: () => void): Promise<{ wireBytes: number }>;
  /** Ends what serves. */
  end(): void;
}
