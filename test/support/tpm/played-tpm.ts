/** A unix socket at which a test plays a TPM: it sees each command and answers as it likes, or not at all. */
import type { Socket } from "bun";

export interface PlayedTpm {
  /** What MIGRATE_TPM is to say. */
  readonly place: string;
  /** Every command that came, in order. */
  readonly commands: Buffer[];
  stop(): void;
}

/** A response with that code, and nothing else. */
export function refusing(code: number): Buffer {
  const answer = Buffer.from("80010000000a00000000", "hex");
  answer.writeUInt32BE(code, 6);
  return answer;
}

/** No handles: what GetCapability answers to the question with which the TPM is tried. */
export const noHandles = Buffer.from("800100000013000000000000000001" + "00000000", "hex");

/** Listens at `path`; `answer` is called with each command and the number of those before it. */
export function playTpm(
  path: string,
  answer: (socket: Socket, command: Buffer, before: number) => void,
): PlayedTpm {
  const commands: Buffer[] = [];
  const listener = Bun.listen({
    unix: path,
    socket: {
      data(socket, bytes) {
        commands.push(Buffer.from(bytes));
        answer(socket, bytes, commands.length - 1);
      },
    },
  });
  return { place: `swtpm:${path}`, commands, stop: () => listener.stop(true) };
}
