/**
 * A ticket from where nobody else sees it. What stands on a command line is in `ps`, for every user of the host,
 * as long as the command runs (proc_pid_cmdline(5)).
 */
import { MigrateError } from "../../protocol/errors.ts";
import { askSecret, type KeyboardInput, readSecretFile } from "../../terminal/prompt.ts";
import type { World } from "./context.ts";
import { optional } from "./option.ts";

/** More than any ticket has, white space around it included. */
const mostBytes = 1024;

/** The flags of a command that may need a ticket. */
export const ticketOptions = {
  ticket: optional(
    "TICKET",
    "The ticket that migrate serve printed, the first time only; - asks for it, or reads it from standard input",
  ),
  ticketFile: optional("FILE", "Read the ticket from FILE, so that it is not in the list of processes"),
};

interface Given {
  ticket: string | undefined;
  ticketFile: string | undefined;
}

/** True if a ticket is given in any way. */
export const hasTicket = ({ ticket, ticketFile }: Given): boolean =>
  ticket !== undefined || ticketFile !== undefined;

/**
 * Returns the text of the ticket that was given, undefined if none was. Throws MigrateError "usage" if the file
 * cannot be read, "interrupted" if nobody answers.
 */
export async function ticketFrom(world: World, { ticket, ticketFile }: Given): Promise<string | undefined> {
  if (ticket !== undefined && ticketFile !== undefined) {
    throw new MigrateError("usage", "--ticket and --ticket-file exclude each other", {
      hint: "Give one of them.",
    });
  }
  if (ticketFile !== undefined) return readSecretFile(ticketFile, "ticket");
  if (ticket !== "-") return ticket;
  const input = world.stdin;
  if (input.isTTY !== true) return readToEnd(input);
  return askSecret({ input, write: (text) => world.stderr.write(text), question: "Ticket: " });
}

/** Standard input up to its end, or to the first line's, or to what is longer than any ticket. */
function readToEnd(input: KeyboardInput): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const done = () => {
      input.off("data", take);
      input.off("end", done);
      input.pause();
      resolve(text);
    };
    const take = (bytes: Buffer) => {
      text += bytes.toString("latin1");
      if (text.length > mostBytes || /\S\s*\n/.test(text)) done();
    };
    input.on("data", take);
    input.on("end", done);
    input.resume();
  });
}
