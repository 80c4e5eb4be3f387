// 500 services and 5,000 edges: the picture is of namespaces that can be opened, tables come in pages, and the browser
// needs no more memory than was promised.
import assert from "node:assert/strict";
import { serious } from "./axe.mjs";
import { api, go, main, screenshot, settled, signIn, until } from "./kit.mjs";

const PROMISED = 300 * 1024 * 1024;
const mib = (bytes) => `${Math.round(bytes / 1024 / 1024)} MiB`;

async function used(session) {
  const { metrics } = await session.send("Performance.getMetrics");
  return metrics.find(({ name }) => name === "JSHeapUsedSize").value;
}

/** What scripts hold once what nobody needs is thrown away; when that happens is the browser's choice. */
async function heap(session, where) {
  const before = await used(session);
  await session.send("HeapProfiler.collectGarbage");
  const held = await used(session);
  console.log(`${where}: ${mib(held)} (${mib(before)} before garbage was collected)`);
  assert.ok(held < PROMISED, `${where}: the page holds ${mib(held)}`);
}

await main("crowd", async ({ page, errors }) => {
  await until(
    "all services and edges are reported",
    async () => {
      const { body } = await api("/graph?window=60s");
      return body?.nodes?.length === 500 && body.edges.length === 5000;
    },
    180_000,
  );
  // A page that draws this much has its time on a busy machine.
  page.setDefaultTimeout(120_000);
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  await signIn(page);

  await go(page, "/topology");
  for (let team = 0; team < 10; team += 1) await page.locator(`[data-node="namespace:team-${team}"]`).waitFor();
  await settled(page);
  assert.equal(await page.locator("[data-node]").count(), 10, "namespaces stand for their services");
  await screenshot(page, "crowd-topology");
  await heap(session, "ten namespaces");
  assert.deepEqual(await serious(page), []);

  await page.locator('[data-node="namespace:team-3"]').click();
  await page.locator('[data-node="team-3/service-3"]').waitFor();
  await settled(page);
  await screenshot(page, "crowd-opened");
  await heap(session, "one namespace opened");
  await page.getByRole("button", { name: "Close namespaces" }).click();
  await page.locator('[data-node="namespace:team-3"]').waitFor();

  await page.getByLabel("Group").selectOption("none");
  await page.locator('[data-node="team-0/service-0"]').waitFor();
  await settled(page);
  await screenshot(page, "crowd-all");
  // Lines end at the left of a node; wide as they are made here, one over it would be hit.
  const covered = await page.evaluate(() => {
    const line = document.querySelector("[data-calm] path");
    line.style.pointerEvents = "stroke";
    line.style.strokeWidth = "60px";
    const seen = [...document.querySelectorAll("[data-node]")].map((node) => [node, node.getBoundingClientRect()]);
    const shown = seen.filter(([, at]) => document.elementsFromPoint(at.left + 2, at.top + at.height / 2).length > 0);
    const over = shown.filter(([, at]) => document.elementFromPoint(at.left + 2, at.top + at.height / 2) === line);
    line.style = "";
    return { shown: shown.length, over: over.length };
  });
  assert.ok(covered.shown > 0 && covered.over === 0, `lines are drawn over nodes: ${JSON.stringify(covered)}`);
  await heap(session, "each service");
  const moment = () => page.locator("[data-graph-at]").getAttribute("data-graph-at");
  for (let round = 0; round < 3; round += 1) {
    const before = await moment();
    await until("new figures", async () => (await moment()) !== before);
  }
  await heap(session, "each service, after three more reports");

  await page.getByRole("button", { name: "Table" }).click();
  const pages = page.getByRole("group", { name: "Pages of edges" });
  await pages.getByText("1 to 100 of 5000").waitFor();
  await pages.getByRole("button", { name: "Next" }).click();
  await pages.getByText("101 to 200 of 5000").waitFor();
  await screenshot(page, "crowd-table");
  await heap(session, "the table");
  assert.deepEqual(await serious(page), []);
  await page.getByLabel("Find in the graph").fill("name:service-77");
  await page.getByRole("heading", { name: "1 node", exact: true }).waitFor();

  for (const [name, path, row] of [["home", "/", null], ["services", "/services", "service-0"], ["security", "/security", null]]) {
    await go(page, path);
    await page.getByRole("heading", { level: 1 }).waitFor();
    if (row) await page.getByRole("link", { name: row, exact: true }).waitFor();
    await settled(page);
    await screenshot(page, `crowd-${name}`);
    await heap(session, name);
  }
  assert.deepEqual(errors.splice(0), []);
});
