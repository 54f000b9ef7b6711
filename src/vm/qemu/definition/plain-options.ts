/** Options that go as they are, once each of their keys is on the list and each value harmless. Pure. */
import type { Draft, OptionReader } from "./draft.ts";
import { refused } from "./option-syntax.ts";
import { type PlainRule, plainRules } from "./plain-rules.ts";
import { patterns, Settings } from "./settings.ts";

const { id } = patterns;

function readPlain(rule: PlainRule): OptionReader {
  return (draft, value, option) => {
    if (!rule.many) draft.once(option);
    const settings = Settings.read(option, value, {
      ...(rule.implied === undefined ? {} : { implied: rule.implied }),
      ...(rule.repeats === undefined ? {} : { repeats: [...rule.repeats] }),
    });
    if (typeof rule.keys === "function") throw new Error(`${option} has a reader of its own`);
    const pairs = settings.kept(rule.keys);
    settings.end((key) =>
      key === "file" || key === "path" || key === "splash" ? "it names a file" : undefined,
    );
    draft.plain(option, pairs);
  };
}

function readNuma(draft: Draft, value: string, option: string): void {
  const { keys, repeats = [] } = plainRules[option]!;
  const settings = Settings.read(option, value, { implied: "type", repeats: [...repeats] });
  const type = settings.need("type", /^(?:node|dist|cpu)$/);
  const given = [{ key: "type", value: type }];
  const memdev = settings.take("memdev", id);
  const pairs = settings.kept((typeof keys === "function" && keys(given)) || {});
  settings.end();
  if (memdev !== undefined) draft.refer(`${option} memdev`, "object", memdev);
  draft.plain(option, [
    ...given,
    ...pairs,
    ...(memdev === undefined ? [] : [{ key: "memdev", value: memdev }]),
  ]);
}

/** A value that goes as it is if the rule fits all of it. */
export function readWord(draft: Draft, value: string, option: string): void {
  const { keys, many = false } = plainRules[option]!;
  if (!many) draft.once(option);
  if (typeof keys === "function" || !keys.value!.test(value))
    throw refused(option, "its value is not one that a VM may bring along");
  draft.plain(option, [{ key: "value", value }]);
}

const readSwitch: OptionReader = (draft, _, option) => draft.plain(option);

const readersOf = (options: readonly string[], reader: (rule: PlainRule) => OptionReader) =>
  Object.fromEntries(options.map((option) => [option, reader(plainRules[option]!)]));

/** Readers of the options that take a value. */
export const plainOptions: Readonly<Record<string, OptionReader>> = {
  ...readersOf(["-smp", "-boot", "-rtc", "-smbios", "-action"], readPlain),
  ...readersOf(["-append", "-vga", "-usbdevice", "-watchdog-action"], () => readWord),
  "-numa": readNuma,
};

/** Readers of those that take none. */
export const plainSwitches: Readonly<Record<string, OptionReader>> = readersOf(
  Object.keys(plainRules).filter((option) => plainRules[option]?.form === "switch"),
  () => readSwitch,
);
