/**
 * Colours of the figures. The tones are in the middle between black and white, so that they stand out from
 * light and from dark paper alike (3:1 at least, WCAG 2.2 SC 1.4.11), and follow Okabe and Ito's set for
 * people who see colours differently. Pure.
 */
import type { SuiteName } from "../statistics/samples.ts";

/** The paper that figures lie on, light and dark. */
export const paper = { light: "#ffffff", dark: "#1b1f24" } as const;
/** What is written and drawn on it. */
export const ink = { light: "#1b1f24", dark: "#e8eaed" } as const;

/** What charts name in place of the paper's colour, for an edge around what is drawn on bars. */
export const paperStroke = "paper-stroke";

/** The rules that a page with drawings needs: what light and dark mean for them. Paper is printed light. */
export const figureStyle = [
  `.figure-drawing{color:${ink.light}}`,
  `.figure-paper{fill:${paper.light}}.figure-edge{stroke:${paper.light}}`,
  `@media screen and (prefers-color-scheme:dark){.figure-drawing{color:${ink.dark}}.figure-paper{fill:${paper.dark}}.figure-edge{stroke:${paper.dark}}}`,
].join("");

/** How a suite is drawn in charts with a line or a point for each. `insecure`, the base of all, has the ink's own colour. */
export const suiteLooks: Readonly<
  Record<SuiteName, { color: string; shape: string; dash: readonly number[] }>
> = {
  insecure: { color: "currentColor", shape: "circle", dash: [1, 0] },
  tls: { color: "#2f83b7", shape: "square", dash: [1, 0] },
  "aes-128": { color: "#d55e00", shape: "triangle-up", dash: [6, 3] },
  rc4: { color: "#00845f", shape: "diamond", dash: [2, 3] },
  "3des": { color: "#ad5a93", shape: "cross", dash: [8, 3, 2, 3] },
  "aes-128-gcm": { color: "#9a7400", shape: "triangle-down", dash: [4, 2] },
  "chacha20-poly1305": { color: "#7b7f86", shape: "triangle-right", dash: [10, 4] },
};
