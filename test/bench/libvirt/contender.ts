/** One way of moving a domain from one libvirt host to another while it runs. */
import type { Tool } from "../../support/runner/needs.ts";
import type { ChildExit } from "../../support/system/child.ts";
import type { Ground } from "./ground.ts";
import type { MovedDomain } from "./moved-domain.ts";

export interface LibvirtContender {
  name: string;
  /** For the table. */
  title: string;
  /** Beside what all need. */
  needs: readonly Tool[];
  /**
   * Makes everything ready, in a folder of this run, that is there: what it does is not measured. The domain runs at
   * the source. Throws what did not get ready, with nothing of it left.
   */
  prepare(ground: Ground, domain: MovedDomain, folder: string): Promise<LibvirtAttempt>;
}

export interface LibvirtAttempt {
  /** Starts the command that moves the domain, and is over when that is done. */
  start(): MoveCommand;
  /** Ends all that was started. Never throws. */
  cleanUp(): Promise<void>;
}

export interface MoveCommand {
  /** Settles once it has ended; never rejects. */
  readonly exit: Promise<ChildExit>;
  /** Its CPU time and that of its children, once it has ended. */
  cpuMs(): { userMs: number; systemMs: number } | undefined;
  /** What it said where it failed. */
  said(): string;
  kill(): Promise<ChildExit>;
}
