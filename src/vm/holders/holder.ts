/** Who uses a file, as a person is told of it. Pure. */

/** A file that is looked for among those that others have open: stat(2) of it. */
export interface SoughtFile {
  dev: bigint;
  ino: bigint;
}

export interface Holder {
  /** Which of the files that were looked for. */
  file: number;
  /** The holder with an article, as in "python3 (process 12)". */
  who: string;
  /** Its process; absent if it is the kernel. */
  pid?: number;
  /** It can change the file. */
  writes: boolean;
  /** It is a VM, or makes the file a disk: the file cannot be taken from it, even if it only reads. */
  needsIt: boolean;
}

/** Finds which of `files` another stat(2) is of: first by the number alone, which is cheap to ask for. */
export class SoughtFiles {
  readonly files: readonly SoughtFile[];
  readonly #numbers: ReadonlySet<number>;

  constructor(files: readonly SoughtFile[]) {
    this.files = files;
    this.#numbers = new Set(files.map(({ ino }) => Number(ino)));
  }

  /** True if one of the files may have this inode number. */
  mayBe(ino: number): boolean {
    return this.#numbers.has(ino);
  }

  /** The indexes of the files that are this one. */
  indexesOf({ dev, ino }: SoughtFile): number[] {
    return this.files.flatMap((file, index) => (file.dev === dev && file.ino === ino ? [index] : []));
  }
}
