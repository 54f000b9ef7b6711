/** A definition while its command line is read: what was found so far, and what refers to what. Pure. */
import { normalize } from "node:path";
import { checkFileName } from "../../../protocol/names.ts";
import type { ChardevPart, CpuModel, DefinitionFile, Pair, Part, TextPair } from "./model.ts";
import { asText, refused, shown } from "./option-syntax.ts";

/** What an option may refer to by name; a name that is not defined is refused. */
export type Kind = "drive" | "chardev" | "netdev" | "object" | "audiodev" | "tpmdev";

interface Reference {
  /** The option and its key, for the sentence. */
  from: string;
  kind: Kind;
  id: string;
}

/** A protocol node of -blockdev that may still find its format node. */
export interface ProtocolNode {
  path: string;
  readOnly: boolean;
  pairs: readonly Pair[];
  /** Where it stands in the command line. */
  place: number;
}

/** More files than any VM has; what travels is limited again where it is offered. */
const mostFiles = 64;

export class Draft {
  name: string | null = null;
  uuid: string | null = null;
  /** Keys of -machine; a later one takes the place of an earlier one, as in QEMU. */
  readonly machine = new Map<string, string>();
  /** In the order of preference, with the keys of each. */
  readonly accelerators: { name: string; pairs: readonly TextPair[] }[] = [];
  cpu: CpuModel | null = null;
  tpmChardev: string | null = null;
  noDefaults = false;
  nographic = false;
  /** Whether any option is about the network: then QEMU adds no card of its own. */
  namesNetwork = false;
  /** Whether any option is about serial lines: then QEMU adds none of its own. */
  namesSerial = false;
  readonly parts: (Part | null)[] = [];
  readonly files: DefinitionFile[] = [];
  readonly notes: string[] = [];
  /** Options by which its screen was shown. */
  readonly shownBy: string[] = [];
  readonly protocols = new Map<string, ProtocolNode>();
  /** Names of nodes that are refused: the command line is, whatever else it holds. */
  readonly refusedNodes: string[] = [];
  readonly chardevs = new Map<string, ChardevPart>();
  /** Where the sockets of character devices are at the source. */
  readonly chardevPaths = new Map<string, string>();
  readonly #defined = new Set<string>();
  readonly #references: Reference[] = [];
  readonly #given = new Set<string>();
  readonly #paths = new Set<string>();
  readonly #networks: string[] = [];
  #disks = 0;

  /** Refuses an option that is there a second time. */
  once(option: string): void {
    if (this.#given.has(option)) throw refused(option, "it is given twice");
    this.#given.add(option);
  }

  note(sentence: string): void {
    if (!this.notes.includes(sentence)) this.notes.push(sentence);
  }

  plain(option: string, pairs: readonly Pair[] = []): void {
    this.parts.push({ kind: "plain", option, pairs: asText(pairs) });
  }

  /** The number of a network of the source, by whatever tells it from others there. */
  networkNumber(name: string): number {
    const known = this.#networks.indexOf(name);
    return known >= 0 ? known : this.#networks.push(name) - 1;
  }

  /** Claims a name for something that others refer to. Drives and block nodes share theirs, as in QEMU. */
  define(kind: Kind, id: string, option: string): void {
    const key = `${kind} ${id}`;
    if (this.#defined.has(key)) throw refused(option, `"${shown(id)}" is there twice`);
    this.#defined.add(key);
  }

  /** Frees a name: what had it has become part of something else. */
  undefine(kind: Kind, id: string): void {
    this.#defined.delete(`${kind} ${id}`);
  }

  isDefined(kind: Kind, id: string): boolean {
    return this.#defined.has(`${kind} ${id}`);
  }

  /** Remembers that an option refers to something, which may be defined later in the command line. */
  refer(from: string, kind: Kind, id: string): void {
    this.#references.push({ from, kind, id });
  }

  /** References to what nobody defines, and character devices with two users, as errors. */
  faultyReferences(): Error[] {
    const users = new Map<string, number>();
    return this.#references.flatMap(({ from, kind, id }) => {
      if (!this.isDefined(kind, id)) return [refused(from, `there is no ${kind} "${shown(id)}"`)];
      if (kind !== "chardev" && kind !== "drive" && kind !== "netdev") return [];
      const count = (users.get(`${kind} ${id}`) ?? 0) + 1;
      users.set(`${kind} ${id}`, count);
      const shared = this.chardevs.get(id)?.pairs.some(({ key, value }) => key === "mux" && value === "on");
      if (count === 1 || (kind === "chardev" && shared)) return [];
      return [refused(from, `the ${kind} "${shown(id)}" is in use already`)];
    });
  }

  /**
   * Adds a file that travels. Its name is the path's last part alone, so that no path of the source's
   * choosing means anything at the destination. Returns its place among the files.
   * @throws MigrateError "policy".
   */
  addFile(option: string, file: Omit<DefinitionFile, "name" | "node"> & { node?: string }): number {
    const path = normalize(file.path);
    if (this.#paths.has(path)) throw refused(option, "it names a file that another option names as well");
    if (this.files.length >= mostFiles) throw refused(option, `the VM has more than ${mostFiles} files`);
    const name = this.#uniqueName(file.path.slice(file.path.lastIndexOf("/") + 1));
    const wrong = checkFileName(name);
    if (wrong !== null) throw refused(option, wrong);
    let node: string | null = null;
    if (file.kind === "disk") {
      node = file.node ?? `migrate-disk-${this.#disks}`;
      this.#disks += 1;
      this.define("drive", node, option);
    } else if (file.node !== undefined) this.define("drive", file.node, option);
    this.#paths.add(path);
    return this.files.push({ ...file, name, node }) - 1;
  }

  /** "disk.raw", and "disk-2.raw" if that is taken. */
  #uniqueName(name: string): string {
    const dot = name.lastIndexOf(".");
    const [stem, ending] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
    let unique = name;
    for (let count = 2; this.files.some((file) => file.name === unique); count++)
      unique = `${stem}-${count}${ending}`;
    return unique;
  }
}

/** Reads one option into the draft. `value` is empty for an option that takes none. */
export type OptionReader = (draft: Draft, value: string, option: string) => void;
