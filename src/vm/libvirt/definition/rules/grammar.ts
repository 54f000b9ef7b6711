/**
 * The allow-list as data: which elements a domain may have, with which attributes and children. Whatever no table
 * names is refused. `keep` makes of an element what the tables leave of it. Pure.
 */
import type { XmlElement } from "../../xml/xml-element.ts";
import { type Draft, shown, tag } from "./draft.ts";

/** What a value must look like. */
export interface ValueRule {
  test(text: string, draft: Draft): boolean;
}

/** What does not travel, because the destination has its own; a note tells a person where that matters. */
export interface LeftOut {
  readonly leftOut: true;
  readonly note?: string;
}

/** What no domain may bring along, by name. */
export interface Refused {
  readonly refused: string;
  readonly hint?: string;
}

export interface ElementRule {
  readonly attributes?: Readonly<Record<string, ValueRule | LeftOut>>;
  /** Attributes that must be there. */
  readonly needs?: readonly string[];
  readonly children?: Readonly<Record<string, ChildRule>>;
  /** Children that must be there. */
  readonly needsChildren?: readonly string[];
  /** What its text must look like; without it there is none. */
  readonly text?: ValueRule;
  /** It may be there more than once. */
  readonly many?: boolean;
  /** Nothing within it can be dropped, nor it: what is left would be another domain. */
  readonly sealed?: boolean;
  /** All that is within stays as it is. */
  readonly asIs?: boolean;
  /** Looks at the element first; what it returns is kept by the rule. Null: it is refused, or left out. */
  readonly prepare?: (element: XmlElement, draft: Draft) => XmlElement | null;
}

export type ChildRule = ElementRule | LeftOut | Refused;

export const leftOut: LeftOut = { leftOut: true };
/** For what is bound to one host: its processors, its directories, its switch. */
export const leftOutWith = (note: string): LeftOut => ({ leftOut: true, note });

export const notAmong = "it is not among what a domain may bring along";

const blank = /^[ \t\r\n]*$/;

const isLeftOut = (rule: ChildRule | ValueRule | LeftOut): rule is LeftOut => "leftOut" in rule;
const isRefused = (rule: ChildRule): rule is Refused => "refused" in rule;

/** The rule of a table under a name that a stranger chose. */
export function ruleOf<Rule>(
  table: Readonly<Record<string, Rule>> | undefined,
  name: string,
): Rule | undefined {
  return table !== undefined && Object.hasOwn(table, name) ? table[name] : undefined;
}

/**
 * What the rule leaves of the element; null if that is nothing, or the element is refused. Refusals and notes go
 * to the draft: after a first one the rest is read as well. `what` names the element in sentences; `sealed` says
 * that nothing in it can be dropped.
 */
export function keep(
  element: XmlElement,
  rule: ElementRule,
  draft: Draft,
  what: string,
  sealed = rule.sealed === true,
): XmlElement | null {
  const prepared = rule.prepare === undefined ? element : rule.prepare(element, draft);
  if (prepared === null || rule.asIs === true) return prepared;
  const attributes = keepAttributes(prepared, rule, draft, what);
  const children = keepChildren(prepared, rule, draft, what, sealed);
  let text = prepared.text;
  if (rule.text === undefined) {
    if (!blank.test(text)) draft.refuse(what, "it has text where there should be none");
    text = "";
  } else if (!rule.text.test(text, draft)) draft.refuse(what, "its text is not of a form that is allowed");
  return { name: prepared.name, attributes, children, text };
}

function keepAttributes(
  element: XmlElement,
  rule: ElementRule,
  draft: Draft,
  what: string,
): ReadonlyMap<string, string> {
  const kept = new Map<string, string>();
  for (const [name, value] of element.attributes) {
    const valueRule = ruleOf(rule.attributes, name);
    if (valueRule === undefined) draft.refuse(`${what} ${shown(name)}=`, notAmong);
    else if (isLeftOut(valueRule)) {
      if (valueRule.note !== undefined) draft.note(`${what} ${name}= is left out: ${valueRule.note}`);
    } else if (valueRule.test(value, draft)) kept.set(name, value);
    else draft.refuse(`${what} ${name}="${shown(value)}"`, "it is not among the values that are allowed");
  }
  for (const name of rule.needs ?? [])
    if (!element.attributes.has(name)) draft.refuse(what, `it has no ${name}`);
  return kept;
}

function keepChildren(
  element: XmlElement,
  rule: ElementRule,
  draft: Draft,
  what: string,
  sealed: boolean,
): XmlElement[] {
  const seen = new Set<string>();
  // What a person knows by its name alone: the parts of a domain, and its devices.
  const isOuter = element.name === "domain" || element.name === "devices";
  const kept = element.children.flatMap((child): XmlElement[] => {
    const name = isOuter ? tag(child.name) : `${tag(child.name)} in ${what}`;
    const childRule = ruleOf(rule.children, child.name);
    const fault = faultOf(childRule, child.name);
    const childSealed = (sealed && !isOuter) || (childRule as ElementRule | undefined)?.sealed === true;
    if (!childSealed && (isOuter || fault !== null) && draft.drops(child.name)) return [];
    if (fault !== null) {
      draft.refuse(name, fault.refused, fault.hint ?? wayOut(child.name, childSealed));
      return [];
    }
    if (childRule === undefined || isRefused(childRule)) return [];
    if (isLeftOut(childRule)) {
      if (childRule.note !== undefined) draft.note(`${name} is left out: ${childRule.note}`);
      return [];
    }
    if (seen.has(child.name) && childRule.many !== true) {
      draft.refuse(name, "it is there twice");
      return [];
    }
    seen.add(child.name);
    const inner = keep(child, childRule, draft, name, childSealed);
    return inner === null ? [] : [inner];
  });
  for (const name of rule.needsChildren ?? [])
    if (!element.children.some((child) => child.name === name)) draft.refuse(what, `it has no ${tag(name)}`);
  return kept;
}

/** Why an element of that name is refused; null if its rule is to be asked. */
function faultOf(rule: ChildRule | undefined, name: string): Refused | null {
  if (rule === undefined) return { refused: name.includes(":") ? "it speaks past libvirt" : notAmong };
  return isRefused(rule) ? rule : null;
}

/** What a person can do about an element that is refused. */
export function wayOut(name: string, sealed = false): string {
  const edit = "Take it out of the domain (virsh edit)";
  return sealed ? `${edit}.` : `${edit}, or leave it behind with --drop ${shown(name)}.`;
}
