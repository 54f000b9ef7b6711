/** What the values in a domain's XML may look like, and tables that many elements share. Pure. */
import { checkFileName } from "../../../../protocol/names.ts";
import { visiblePattern } from "../../../../protocol/printable.ts";
import type { ElementRule, ValueRule } from "./grammar.ts";

/** One of some words, which stand in one text with spaces between them. */
export function oneOf(words: string): RegExp {
  return new RegExp(`^(?:${words.trim().split(/\s+/).map(RegExp.escape).join("|")})$`);
}

export const yesNo = oneOf("yes no");
export const onOff = oneOf("on off");
export const whole = /^\d{1,15}$/;
/** An unsigned int of libvirt's. */
export const count = /^\d{1,9}$/;
export const hexOrWhole = /^(?:0[xX][\da-fA-F]{1,16}|\d{1,15})$/;
/** A word that is no path and ends no option of QEMU's. */
export const word = /^[A-Za-z\d][\w.+-]{0,63}$/;
export const uuid = /^[\da-fA-F]{8}-?(?:[\da-fA-F]{4}-?){3}[\da-fA-F]{12}$/;
export const mac = /^(?:[\da-fA-F]{1,2}:){5}[\da-fA-F]{1,2}$/;
/** A unit of bytes (util/virutil.c, virScaleInteger). */
export const unit = /^(?:b|bytes|[kmgtpe](?:i?b)?)$/i;
/** Names of cpus or nodes: "0-3,^2,8". */
export const cpuset = /^\^?\d{1,5}(?:-\d{1,5})?(?:,\^?\d{1,5}(?:-\d{1,5})?){0,255}$/;
/** Text for the guest or a person; it never becomes a file's name. */
export const text = visiblePattern(0, 1024);
export const emptyOrText = visiblePattern(0, 8192);

/** Text of several lines. */
export const lines: ValueRule = {
  test: (value) => value.length <= 16_384 && emptyLines.test(value),
};
const emptyLines = /^(?:[\t\r\n]|[^\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069])*$/u;

const visible = visiblePattern(1, 4096);

/** Whether it is an absolute path of visible characters, of at most 4096 bytes. */
export function isPath(path: string): boolean {
  return path.startsWith("/") && visible.test(path) && Buffer.byteLength(path) <= 4096 && !path.endsWith("/");
}

/** A file of the domain: a path at the source, a plain name where it travels. */
export const file: ValueRule = {
  test: (value, draft) => (draft.offered ? checkFileName(value) === null : isPath(value)),
};

/** Where packages of distributions have the firmware of guests. No part begins with a dot: none leads up. */
const firmwareFolders = "OVMF qemu AAVMF edk2 qemu-efi-aarch64 seabios ovmf edk2-ovmf";
export const firmwareFile = new RegExp(
  `^/usr/share/(?:${firmwareFolders.split(" ").join("|")})(?:/[A-Za-z\\d][\\w.+-]{0,80}){1,4}$`,
);

/** An element that is there or not. */
export const bare: ElementRule = {};
export const numbered: ElementRule = { text: whole };
export const sized: ElementRule = { attributes: { unit }, text: whole };
/** An element with nothing but attributes. */
export function only(attributes: NonNullable<ElementRule["attributes"]>, many = false): ElementRule {
  return { attributes, many };
}
