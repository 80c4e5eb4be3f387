// The graph: six services with figures that move, a shift that it follows, a fault that turns it and the problems red.
import assert from "node:assert/strict";
import { api, go, main, screenshot, settled, signIn, until } from "./kit.mjs";

const NODES = ["gateway", "productpage", "details", "reviews", "ratings"];

async function shares() {
  const { body } = await api("/graph?window=10s");
  const reviews = body.nodes.find((node) => node.id === "default/reviews");
  const all = reviews?.versions.reduce((sum, each) => sum + (each.requests_per_second ?? 0), 0) ?? 0;
  return Object.fromEntries((reviews?.versions ?? []).map((each) => [each.version, all > 0 ? (each.requests_per_second ?? 0) / all : 0]));
}

await main("traffic", async ({ page, errors }) => {
  await signIn(page);
  await go(page, "/topology");
  for (const name of NODES) await page.locator(`[data-node$="/${name}"]`).waitFor();
  await until("figures on every edge", async () => {
    const labels = await page.locator("[data-edge]").allInnerTexts();
    return labels.length >= 4 && labels.every((label) => /\d/.test(label));
  });
  const versions = await page.locator('[data-node="default/reviews"]').innerText();
  assert.match(versions, /v1.*v2.*v3/s);
  const moment = () => page.locator("[data-graph-at]").getAttribute("data-graph-at");
  const before = await moment();
  await until("the figures move", async () => (await moment()) !== before);
  await settled(page);
  await screenshot(page, "graph-moving");

  // Half and half between v1 and v3, made in the form.
  await go(page, "/services/default/reviews?tab=traffic");
  await page.getByRole("button", { name: "All to v1" }).click();
  await page.getByLabel("Percent to v3").fill("50");
  assert.equal(await page.getByLabel("Percent to v1").inputValue(), "50");
  assert.equal(await page.getByLabel("Percent to v2").inputValue(), "0");
  await page.locator('[data-dryrun="valid"]').waitFor();
  await page.getByLabel("Why, for the history").fill("half and half");
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.getByText(/^Applied:/).waitFor();
  await screenshot(page, "shift-applied");
  await until("v2 gets nothing, v1 and v3 about the half each", async () => {
    const seen = await shares();
    return (seen.v2 ?? 0) === 0 && seen.v1 > 0.3 && seen.v3 > 0.3;
  }, 60_000);
  await go(page, "/topology?at=default%2Freviews");
  await until("the panel shows the halves", async () => {
    const text = await page.locator("[data-versions]").innerText();
    return /v1/.test(text) && /v3/.test(text);
  });
  await screenshot(page, "shift-followed");

  // Every request to ratings fails.
  await go(page, "/services/default/ratings?tab=traffic&wizard=fault");
  await page.getByLabel("Answer with an error").check();
  await page.getByLabel("Percent of requests aborted").fill("100");
  await page.locator('[data-dryrun="valid"]').waitFor();
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.getByText(/^Applied:/).waitFor();
  await go(page, "/topology");
  await page.locator('[data-edge^="default/reviews>default/ratings"].text-bad').waitFor();
  await screenshot(page, "fault-red");
  await go(page, "/");
  await page.locator('[data-problem^="WFT16"]').first().waitFor();
  await screenshot(page, "fault-problems");
  assert.deepEqual(errors.splice(0), []);
});
