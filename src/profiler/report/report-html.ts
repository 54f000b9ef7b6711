/**
 * report.html: a whole profile as one page that loads nothing and runs nothing.
 * Equal samples and drawings give equal text. Pure.
 */
import { createHash } from "node:crypto";
import type { Drawing } from "../figures/figure.ts";
import { type Markup, markup, trustedMarkup } from "../notation/markup.ts";
import type { Samples } from "../statistics/samples.ts";
import { profileAdvice } from "./advice.ts";
import { judgeClaims } from "./claims.ts";
import { type Judgement, type Verdict, verdictRule } from "./judgement.ts";
import { environmentFacts, profileWarnings } from "./report-facts.ts";
import { reportStyle } from "./report-style.ts";
import { notesList, reportTable, sharedNotes } from "./report-table.ts";
import { profileTables } from "./tables.ts";
import { thesisSource } from "./thesis.ts";

const title = "What a secure migration costs";

/** The page, in UTF-8. `drawings` are those of these samples, in the order in which they are to stand. */
export function reportHtml(samples: Samples, drawings: readonly Drawing[]): string {
  const style = trustedMarkup(reportStyle);
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${contentPolicy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="migrate ${samples.environment.migrate}">
<link rel="icon" href="data:,">
<title>${title}: ${samples.environment.cpu}, ${samples.startedAt}</title>
<style>${style}</style>
</head>
<body>
${header(samples)}
<main>
${warnings(samples)}
${inShort(samples)}
${claims(judgeClaims(samples))}
${figures(drawings)}
${tables(samples)}
${environment(samples)}
</main>
<footer>
<p class="quiet">Drawn by migrate ${samples.environment.migrate}; <code>migrate profile --replay samples.json</code> draws it again from the raw samples. The thesis: ${thesisSource}.</p>
</footer>
</body>
</html>
`.text;
}

/** Nothing is loaded and nothing runs; the one style sheet is known by its digest. */
function contentPolicy(): string {
  const digest = createHash("sha256").update(reportStyle).digest("base64");
  return `default-src 'none'; style-src 'sha256-${digest}'; img-src data:; base-uri 'none'; form-action 'none'`;
}

function header({ samples, startedAt, environment }: Samples): Markup {
  const chapters = {
    short: "In short",
    claims: "Claims",
    figures: "Figures",
    tables: "Tables",
    environment: "Environment",
  };
  const links = Object.entries(chapters).map(([id, name]) => markup`<li><a href="#${id}">${name}</a></li>`);
  return markup`<header>
<h1>${title}</h1>
<p class="quiet">${samples.length} ${samples.length === 1 ? "run" : "runs"} of <code>migrate profile</code> over ${environment.link}, begun ${startedAt}</p>
<nav aria-label="Contents"><ul>${links}</ul></nav>
</header>`;
}

function warnings(samples: Samples): Markup | undefined {
  const paragraphs = profileWarnings(samples).map((warning) => markup`<p>${warning}</p>`);
  return paragraphs.length === 0
    ? undefined
    : markup`<aside class="warning" aria-label="Warnings">${paragraphs}</aside>`;
}

function inShort(samples: Samples): Markup {
  const paragraphs = profileAdvice(samples).map((paragraph) => markup`<p>${withCode(paragraph)}</p>\n`);
  return markup`<section id="short" aria-labelledby="short-head">
<h2 id="short-head">In short</h2>
<div class="advice">
${paragraphs}</div>
</section>`;
}

/** Text between backquotes, as code. */
function withCode(text: string): Markup[] {
  return text
    .split("`")
    .map((piece, place) => (place % 2 === 0 ? markup`${piece}` : markup`<code>${piece}</code>`));
}

/** A sign and a class beside each verdict's word, so that colour is not all there is. */
const verdictLooks: Readonly<Record<Verdict, { sign: string; look: string; word: string }>> = {
  holds: { sign: "✓", look: "holds", word: "Holds" },
  "does not hold": { sign: "✗", look: "fails", word: "Does not hold" },
  "cannot tell": { sign: "?", look: "unclear", word: "Cannot tell" },
};

function claims(judgements: readonly Judgement[]): Markup {
  const items = judgements.map(({ id, claim, verdict, sentence, rule }) => {
    const { sign, look, word } = verdictLooks[verdict];
    return markup`<li id="claim-${id}">
<p class="claim">${claim}</p>
<p><strong class="${look}"><span aria-hidden="true">${sign} </span>${word}.</strong> ${withCode(sentence)}</p>
<p class="quiet">Rule: ${rule}</p>
</li>
`;
  });
  return markup`<section id="claims" aria-labelledby="claims-head">
<h2 id="claims-head">The thesis’s claims, on this run’s data</h2>
<p>${verdictRule}</p>
<ol class="claims">
${items}</ol>
</section>`;
}

function figures(drawings: readonly Drawing[]): Markup {
  const items = drawings.map(
    ({ figure, svg }) => markup`<figure aria-labelledby="${figure.id}-caption">
<div class="wide" role="region" aria-labelledby="${figure.id}-caption" tabindex="0">${trustedMarkup(svg)}</div>
<figcaption id="${figure.id}-caption">${figure.title}<small>${figure.note}</small></figcaption>
<details><summary>The numbers of this figure</summary>
<p>${figure.description}</p>
${reportTable(figure.table)}</details>
</figure>
`,
  );
  return markup`<section id="figures" aria-labelledby="figures-head">
<h2 id="figures-head">Figures</h2>
${items}</section>`;
}

/** Notes that several tables share stand once, before all of them. */
function tables(samples: Samples): Markup {
  const all = profileTables(samples);
  const shared = sharedNotes(all);
  const items = all.map((table) => markup`<div class="block">${reportTable(table, new Set(shared))}</div>\n`);
  return markup`<section id="tables" aria-labelledby="tables-head">
<h2 id="tables-head">Tables</h2>
${notesList(shared)}${items}</section>`;
}

function environment(samples: Samples): Markup {
  const facts = environmentFacts(samples).map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>\n`);
  return markup`<section id="environment" aria-labelledby="environment-head">
<h2 id="environment-head">Environment</h2>
<dl>
${facts}</dl>
</section>`;
}
