/** How report.html looks: on a wide and a narrow screen, by day and by night, and on paper. Pure. */
import { figureStyle, ink, paper } from "../figures/palette.ts";

const screen = `
:root{color-scheme:light dark;--paper:${paper.light};--ink:${ink.light};--quiet:#565c64;--line:#d5d9de;--shade:#f4f5f7;--link:#0b57a4;--good:#00714f;--bad:#b23c00;--open:#5b6168}
@media screen and (prefers-color-scheme:dark){:root{--paper:${paper.dark};--ink:${ink.dark};--quiet:#a9b0b8;--line:#3b4149;--shade:#242a31;--link:#8ec1f5;--good:#5cc9a3;--bad:#ff9a66;--open:#b0b6bd}}
*{box-sizing:border-box}
html{background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,"Segoe UI","DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;padding:1.5rem 1.25rem 4rem;max-width:62rem;overflow-wrap:break-word}
h1{font-size:1.8rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.3rem;line-height:1.3;margin:2.8rem 0 .8rem;padding-top:.6rem;border-top:1px solid var(--line)}
p,ul,dl{margin:.6rem 0}
p,.notes,dd{max-width:46rem}
a{color:var(--link)}
a:focus-visible,summary:focus-visible,.wide:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.quiet,.notes,figcaption small{color:var(--quiet)}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;padding:0}
.warning,.advice{max-width:48rem}
.warning{border-left:4px solid var(--bad);background:var(--shade);padding:.6rem .9rem}
.warning p{margin:.2rem 0}
.advice{border-left:4px solid var(--link);background:var(--shade);padding:.4rem .9rem}
.wide{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;margin:.4rem 0}
caption{caption-side:top;text-align:left;font-weight:600;padding:.2rem 0 .45rem}
th,td{padding:.22rem .7rem .22rem 0;text-align:left;vertical-align:top;white-space:nowrap}
th{font-weight:600}
tbody th[scope=row]{font-weight:400}
tbody th.sub{color:var(--quiet)}
thead th,thead td{border-bottom:1px solid var(--line);vertical-align:bottom}
tbody tr:last-child>*{border-bottom:1px solid var(--line)}
tbody th[scope=rowgroup]{border-bottom:1px solid var(--line)}
.right{text-align:right}
.notes{font-size:.85rem;padding-left:1.1rem}
.block{margin:1.6rem 0}
figure{margin:2rem 0}
figure svg{display:block;max-width:100%;min-width:38rem;height:auto}
figcaption{font-weight:600;margin-top:.5rem;max-width:46rem}
figcaption small{display:block;font-weight:400;font-size:.85rem}
summary{cursor:pointer;color:var(--link);padding:.3rem 0;width:fit-content}
.claims{padding-left:2rem}
.claims li{margin:0 0 1.1rem;padding-left:.3rem}
.claims p{margin:.1rem 0}
.claims .claim{font-weight:600}
.claims .quiet{font-size:.85rem}
.holds{color:var(--good)}.fails{color:var(--bad)}.unclear{color:var(--open)}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.2rem 1.2rem}
dt{color:var(--quiet)}
dd{margin:0;overflow-wrap:anywhere}
`;

/** Paper has no scroll bars and nothing to open, and nothing may be torn in two. */
const print = `
@page{margin:14mm}
@media print{
html{font-size:10pt;background:none}
body{max-width:none;padding:0}
nav,details{display:none}
.wide{overflow:visible}
figure,.short,.claims li,tbody,.warning,.advice,dl{break-inside:avoid}
h2,caption,thead{break-after:avoid}
thead{display:table-header-group}
table{font-size:7.5pt;width:100%}
th,td{white-space:normal;padding-right:.35rem}
figure svg{min-width:0;width:auto;max-height:112mm}
.warning,.advice{background:none}
a{color:inherit;text-decoration:none}
}
`;

/** The style sheet of the whole page. */
export const reportStyle = `${screen.trim()}\n${figureStyle}\n${print.trim()}`;
