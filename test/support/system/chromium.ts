/** A real browser for tests of what browsers show: Debian's Chromium, without a window. */
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { type Availability, findProgram, installTools, type Tool } from "../runner/needs.ts";

/** For the tests of pages and pictures under test/live. */
export const chromiumTool: Tool = { program: "chromium", package: "chromium" };

/** Installs Chromium where it is missing, as root with apt. Never throws: it says why instead. */
export function ensureChromium(): Promise<Availability> {
  return installTools([chromiumTool]);
}

/** Starts the browser with a fresh profile and nothing that calls home. Throws where there is none. */
export async function openChromium(): Promise<Browser> {
  const { available, reason } = await ensureChromium();
  if (!available) throw new Error(`there is no Chromium: ${reason}`);
  return chromium.launch({
    executablePath: findProgram(chromiumTool.program) ?? chromiumTool.program,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** A page, with everything that it complained of and asked for since it was opened. */
export interface WatchedPage {
  page: Page;
  /** Console messages of every kind and errors nobody caught. */
  complaints: string[];
  /** Addresses of all requests but that of the page itself. */
  requests: string[];
  close: () => Promise<void>;
}

/** Opens a file in a context of its own. */
export async function openFile(
  browser: Browser,
  path: string,
  look: { colorScheme?: "light" | "dark"; widthPx?: number; heightPx?: number } = {},
): Promise<WatchedPage> {
  const context: BrowserContext = await browser.newContext({
    colorScheme: look.colorScheme ?? "light",
    viewport: { width: look.widthPx ?? 1280, height: look.heightPx ?? 900 },
  });
  const page = await context.newPage();
  const address = Bun.pathToFileURL(path).href;
  const complaints: string[] = [];
  const requests: string[] = [];
  page.on("console", (message) => complaints.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (request.url() !== address) requests.push(request.url());
  });
  await page.goto(address, { waitUntil: "load" });
  return { page, complaints, requests, close: () => context.close() };
}
