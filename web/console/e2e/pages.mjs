// Each page in one theme: no errors, nothing that axe calls serious, and a picture of it. In a narrow window it is one
// column.
import assert from "node:assert/strict";
import { serious } from "./axe.mjs";
import { api, base, go, main, screenshot, settled, signIn, until } from "./kit.mjs";

const PAGES = [
  ["home", "/"],
  ["topology", "/topology"],
  ["topology-service", "/topology?at=default%2Freviews"],
  ["topology-table", "/topology?view=table"],
  ["services", "/services"],
  ["service", "/services/default/reviews"],
  ["service-traffic", "/services/default/reviews?tab=traffic"],
  ["service-fault", "/services/default/reviews?tab=traffic&wizard=fault"],
  ["service-routing", "/services/default/reviews?tab=routing"],
  ["service-policies", "/services/default/reviews?tab=policies"],
  ["service-identity", "/services/default/reviews?tab=identity"],
  ["service-config", "/services/default/reviews?tab=config"],
  ["service-figures", "/services/default/reviews?tab=figures"],
  ["service-endpoints", "/services/default/reviews?tab=endpoints"],
  ["proxies", "/proxies"],
  ["proxy", "/proxies/reviews-v1.default"],
  ["proxy-layout", "/proxies/reviews-v1.default?tab=layout"],
  ["proxy-why", "/proxies/reviews-v1.default?tab=why"],
  ["proxy-policies", "/proxies/reviews-v1.default?tab=policies"],
  ["proxy-config", "/proxies/reviews-v1.default?tab=config"],
  ["proxy-events", "/proxies/reviews-v1.default?tab=events"],
  ["proxy-stats", "/proxies/reviews-v1.default?tab=stats"],
  ["proxy-tap", "/proxies/reviews-v1.default?tab=tap"],
  ["traces", "/traces"],
  ["config", "/config"],
  ["config-object", "/config/destinationrules/default/reviews"],
  ["config-history", "/config/destinationrules/default/reviews?tab=history"],
  ["config-new", "/config/new"],
  ["registries", "/registries"],
  ["machines", "/machines"],
  ["machines-tokens", "/machines?tab=tokens"],
  ["security", "/security"],
  ["security-modes", "/security?tab=modes"],
  ["security-allowed", "/security?tab=allowed"],
  ["security-identities", "/security?tab=identities"],
  ["security-authority", "/security?tab=authority"],
  ["control-plane", "/control-plane"],
  ["activity", "/activity"],
  ["activity-audit", "/activity?tab=audit"],
  ["access", "/access"],
];

/** How wide the page is as soon as it fits, or after half a minute. The page's policy lets Playwright evaluate no text. */
const narrowest = (width) =>
  new Promise((done) => {
    const end = performance.now() + 30_000;
    const look = () => {
      const wide = Math.max(document.documentElement.scrollWidth, document.querySelector("main").scrollWidth);
      if (wide <= width || performance.now() > end) done(wide);
      else requestAnimationFrame(look);
    };
    look();
  });

/** What needs a second scroll bar at the width of a phone, or at 1280 pixels enlarged to 400 % (WCAG 1.4.10). */
async function reflow(page) {
  const bad = [];
  const size = page.viewportSize();
  for (const width of [390, 320]) {
    await page.setViewportSize({ width, height: 800 });
    const wide = await page.evaluate(narrowest, width);
    if (wide > width) bad.push(`is ${wide} pixels wide in a window of ${width}`);
  }
  await page.setViewportSize(size);
  return bad;
}

async function visit(page, errors, theme) {
  const bad = [];
  for (const [name, path] of PAGES) {
    await go(page, path);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await settled(page);
    if (await page.getByRole("alert").count()) bad.push(`${name} in ${theme}: ${await page.getByRole("alert").first().innerText()}`);
    bad.push(...(await serious(page)).map((found) => `${name} in ${theme}: ${found}`));
    bad.push(...errors.splice(0).map((error) => `${name} in ${theme}: ${error}`));
    await screenshot(page, `${name}-${theme}`);
    if (theme === "light") bad.push(...(await reflow(page)).map((found) => `${name} ${found}`));
  }
  return bad;
}

const theme = process.argv[2] ?? "light";

await main(`pages-${theme}`, async ({ page, errors }) => {
  await until("the graph has figures", async () => {
    const { body } = await api("/graph?window=60s");
    return body?.edges?.filter((edge) => edge.requests_per_second > 0).length >= 4;
  });
  await page.emulateMedia({ colorScheme: theme });
  await page.goto(base);
  await page.getByLabel("API token").waitFor();
  const bad = (await serious(page)).map((found) => `login in ${theme}: ${found}`);
  await screenshot(page, `login-${theme}`);
  await signIn(page);
  bad.push(...(await visit(page, errors, theme)));
  assert.deepEqual(bad, []);
});
