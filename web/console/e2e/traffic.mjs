// The graph: six services with figures that move, a shift that it follows, a fault that turns it and the problems red.
import assert from "node:assert/strict";
import { api, base, DEADLINE, go, main, screenshot, settled, signIn, until } from "./kit.mjs";

/** The six workloads of Bookinfo: four services, of which one has three versions. */
const SIX = ["productpage", "details", "reviews@v1", "reviews@v2", "reviews@v3", "ratings"].map((name) => `default/${name}`);

async function shares() {
  const { body } = await api("/graph?window=10s");
  const reviews = body.nodes.find((node) => node.id === "default/reviews");
  const all = reviews?.versions.reduce((sum, each) => sum + (each.requests_per_second ?? 0), 0) ?? 0;
  return Object.fromEntries((reviews?.versions ?? []).map((each) => [each.version, all > 0 ? (each.requests_per_second ?? 0) / all : 0]));
}

const RATINGS = ["", "@v2", "@v3"].map((version) => `[data-edge^="default/reviews${version}>default/ratings"]`).join(", ");

/** Does something and tells how long it took of what was promised; a busy machine may take longer. */
async function within(seconds, what, done) {
  const began = Date.now();
  await done(DEADLINE);
  console.log(`${what}: ${((Date.now() - began) / 1000).toFixed(1)} s of ${seconds}`);
}

const moment = (page) => page.locator("[data-graph-at]").getAttribute("data-graph-at");

/** What the nodes of the six show: requests a second, their errors, and how long they took. */
const figures = (page) => Promise.all(SIX.map((id) => page.locator(`[data-node="${id}"]`).innerText({ timeout: 1000 }).catch(() => "")));

await main("traffic", async ({ page, errors }) => {
  await signIn(page);
  await within(15, "the graph with figures that move", async (timeout) => {
    await go(page, "/topology");
    await page.locator('[data-node$="/gateway"]').waitFor({ timeout });
    await until("requests at each of the six", async () => (await figures(page)).every((text) => /[1-9][\d.]*\/s/.test(text)), timeout);
    await until("figures on every edge", async () => {
      const labels = await page.locator("[data-edge]").allInnerTexts();
      return labels.length >= 7 && labels.every((label) => /\d/.test(label));
    }, timeout);
    const [began, before] = [await moment(page), await figures(page)];
    await until("the figures move", async () => {
      const after = await figures(page);
      return (await moment(page)) !== began && after.every(Boolean) && after.some((text, at) => text !== before[at]);
    }, timeout);
  });
  await page.getByLabel("Group").selectOption("none");
  await until("the versions in the node of their service", async () => /v1.*v2.*v3/s.test(await page.locator('[data-node="default/reviews"]').innerText()));
  await page.getByLabel("Group").selectOption("auto");
  await page.locator('[data-node="default/reviews@v3"]').waitFor();
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
  // The form shows what holds now, and has nothing more to apply.
  await page.getByRole("button", { name: "Apply", exact: true, disabled: true }).waitFor();
  for (const [version, share] of [["v1", "50"], ["v2", "0"], ["v3", "50"]]) assert.equal(await page.getByLabel(`Percent to ${version}`).inputValue(), share);
  assert.equal(await page.getByText("No weights").count(), 0);
  await screenshot(page, "shift-applied");
  await until("v2 gets nothing, v1 and v3 about the half each", async () => {
    const seen = await shares();
    return (seen.v2 ?? 0) === 0 && seen.v1 > 0.3 && seen.v3 > 0.3;
  }, 60_000);
  await go(page, "/topology?at=default%2Freviews");
  await until("the panel shows the halves", async () => {
    const rows = await page.getByRole("complementary").locator("[data-versions] li").allInnerTexts();
    const share = Object.fromEntries(rows.map((row) => [row.split(/\s/)[0], Number(/([\d.]+) %/.exec(row)?.[1] ?? 0)]));
    return share.v1 > 30 && share.v3 > 30 && !(share.v2 > 0);
  }, 90_000);
  await screenshot(page, "shift-followed");

  // Every request to ratings fails; others look at the graph and at home.
  const [graph, home] = [await page.context().newPage(), await page.context().newPage()];
  await graph.goto(`${base}/topology`);
  await graph.locator(RATINGS).first().waitFor();
  await home.goto(base);
  await home.getByRole("heading", { name: "Problems" }).waitFor();
  await go(page, "/services/default/ratings?tab=traffic&wizard=fault");
  await page.getByLabel("Answer with an error").check();
  await page.getByLabel("Percent of requests aborted").fill("100");
  await page.locator('[data-dryrun="valid"]').waitFor();
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.getByText(/^Applied:/).waitFor();
  await within(10, "the edge and the problems turn red", (timeout) =>
    Promise.all([
      graph.locator(RATINGS.split(", ").map((edge) => `${edge}.text-bad`).join(", ")).first().waitFor({ timeout }),
      home.locator('[data-problem^="WFT16"][data-severity="error"]').first().waitFor({ timeout }),
    ]),
  );
  await screenshot(graph, "fault-red");
  await screenshot(home, "fault-problems");

  // The problem leads to the edge, and stands at the service, too.
  await go(page, "/services/default/ratings");
  const reason = page.getByRole("list", { name: "What is wrong" }).getByRole("listitem").filter({ hasText: "WFT1601" });
  await reason.first().waitFor();
  await page.locator('[data-edge^="default/reviews>default/ratings"]').waitFor();
  await screenshot(page, "fault-service");
  await reason.first().getByRole("link", { name: "Open" }).click();
  await page.getByRole("complementary", { name: "reviews → ratings" }).waitFor();

  // Somebody knows of it: it goes to the end of the list, with the reason, and counts for nothing.
  await home.getByRole("button", { name: /^Mute WFT16/ }).first().click();
  await home.getByLabel("Why nobody needs to look at it").fill("a fault on purpose");
  await home.getByRole("dialog").getByRole("button", { name: "Mute", exact: true }).click();
  const muted = home.locator('[data-problem^="WFT16"][data-muted]').first();
  await muted.getByText("a fault on purpose").waitFor();
  await screenshot(home, "fault-muted");
  await muted.getByRole("button", { name: /^Unmute/ }).click();
  await muted.waitFor({ state: "detached" });
  assert.deepEqual(errors.splice(0), []);
});
