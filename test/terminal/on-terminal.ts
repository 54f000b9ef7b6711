/** The compiled binary on a terminal of its own, whose screen can be looked at and whose keys can be pressed. */
import { builtBinary } from "../support/system/process.ts";
import { until } from "../support/system/until.ts";
import { Screen } from "./screen.ts";

export const ctrlC = "\u0003";

export class OnTerminal {
  readonly screen: Screen;
  readonly exit: Promise<number>;
  readonly #type: (keys: string) => void;

  private constructor(screen: Screen, exit: Promise<number>, type: (keys: string) => void) {
    this.screen = screen;
    this.exit = exit;
    this.#type = type;
  }

  /** Starts `migrate` with these words; `home` is its MIGRATE_HOME. */
  static start(
    words: readonly string[],
    { home, columns = 80 }: { home: string; columns?: number },
  ): OnTerminal {
    const screen = new Screen(columns);
    const decoder = new TextDecoder();
    const child = Bun.spawn([builtBinary, ...words], {
      env: { PATH: process.env.PATH, TERM: "xterm", LANG: "C.UTF-8", MIGRATE_HOME: home },
      terminal: {
        cols: columns,
        rows: 24,
        data: (_, bytes) => screen.write(decoder.decode(bytes, { stream: true })),
      },
    });
    return new OnTerminal(screen, child.exited, (keys) => void child.terminal?.write(keys));
  }

  type(keys: string): void {
    this.#type(keys);
  }

  /** What is to be seen, as one text. */
  get text(): string {
    return this.screen.seen().join("\n");
  }

  /** Waits until the screen shows it, or, with `gone`, shows it no more. */
  async shows(what: string, { gone = false } = {}): Promise<void> {
    const asAwaited = () => this.text.includes(what) !== gone;
    await until(asAwaited, `${what} ${gone ? "gone from" : "on"} the screen`).catch((thrown: Error) => {
      throw new Error(`${thrown.message}, which shows:\n${this.text}`);
    });
  }
}
