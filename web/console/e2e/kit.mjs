// What the scripts share: a browser that is signed in, and waiting for what can be seen.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { CONSOLE, TOKEN, SCREENSHOTS, WEFT } = process.env;
export const base = CONSOLE.replace(/\/$/, "");
/** Generous: a deadline for what must happen, not a measure of how long it takes. */
export const DEADLINE = 60_000;

/** Pages at a time: while one waits, another one works. More of them would be one client that asks too much. */
const AT_ONCE = Math.min(2 * availableParallelism(), 8);

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export function weft(...words) {
  return execFileSync(WEFT, words, { encoding: "utf8" });
}

export async function api(path, options = {}) {
  const response = await fetch(`${base}/api/v1${path}`, {
    ...options,
    headers: { authorization: `Bearer ${TOKEN}`, ...options.headers },
  });
  const text = await response.text();
  return { status: response.status, body: text ? JSON.parse(text) : null };
}

/** Waits until a condition gives something; tells what it was waiting for when it never does. */
export async function until(what, condition, deadline = DEADLINE) {
  const end = Date.now() + deadline;
  let last;
  while (Date.now() < end) {
    last = await condition();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  assert.fail(`after ${deadline / 1000} s still not: ${what}`);
}

/** Errors of the page's own: those of the network are told apart, since a refusal may be what a test wants. */
function listen(page, errors) {
  page.on("pageerror", (error) => errors.push(`uncaught: ${error.message}`));
  page.on("console", (message) => {
    // What the browser will do some day is its own matter.
    const isOfBrowser = /^\[(Deprecation|Intervention)\]/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !isOfBrowser) errors.push(`${message.type()}: ${message.text()}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 500) errors.push(`${response.status()} for ${response.url()}`);
  });
}

export async function open(theme = "light", size = { width: 1440, height: 900 }) {
  const executablePath = BROWSERS.find((path) => existsSync(path));
  assert.ok(executablePath, `no browser in ${BROWSERS.join(", ")}`);
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  const context = await browser.newContext({ viewport: size, colorScheme: theme });
  context.setDefaultTimeout(DEADLINE);
  const page = await context.newPage();
  const errors = [];
  listen(page, errors);
  return { browser, page, errors };
}

export async function signIn(page) {
  await page.goto(base);
  await page.getByLabel("API token").fill(TOKEN);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("navigation", { name: "Pages" }).waitFor();
}

/** Does each piece of work on one of several pages that are signed in as this one is, each with connections of its own. */
export async function together(browser, page, errors, pieces, work) {
  const signedIn = await page.context().storageState();
  const waiting = [...pieces];
  const one = async () => {
    const context = await browser.newContext({ viewport: page.viewportSize(), storageState: signedIn });
    context.setDefaultTimeout(DEADLINE);
    const own = await context.newPage();
    listen(own, errors);
    for (let piece = waiting.shift(); piece; piece = waiting.shift()) await work(own, piece);
    await context.close();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

/** Goes to a path as a link within the console does. */
export async function go(page, path) {
  await page.evaluate((path) => {
    history.pushState(null, "", path);
    dispatchEvent(new PopStateEvent("popstate"));
  }, path);
}

export async function settled(page) {
  await page.waitForFunction(() => !document.querySelector(".skeleton") && !document.body.innerText.includes("Reading…"));
  await page.evaluate(() => document.fonts.ready);
}

export async function screenshot(page, name) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  // Hiding the caret takes an inline style, which the page's policy refuses.
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), caret: "initial" });
}

/** Runs a script to its end; the browser is closed and what failed is shown, with a picture of it. */
export async function main(name, script) {
  const opened = await open();
  try {
    await script(opened);
    console.log(`${name}: passed`);
  } catch (error) {
    await screenshot(opened.page, `failed-${name}`).catch(() => undefined);
    console.error(error);
    console.error(opened.errors.join("\n"));
    process.exitCode = 1;
  } finally {
    await opened.browser.close();
  }
}
