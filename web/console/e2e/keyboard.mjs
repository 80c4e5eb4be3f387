// The keyboard alone: through the pages, along the graph, into the editor and out of it.
import assert from "node:assert/strict";
import { api, main, settled, signIn, until } from "./kit.mjs";

const at = (page) => page.evaluate(() => location.pathname);
const focused = (page) => page.evaluate(() => document.activeElement?.getAttribute("data-node") ?? document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent?.trim() ?? "");

async function tabTo(page, what, is, most = 80) {
  for (let press = 0; press < most; press += 1) {
    if (await is()) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${most} times Tab do not lead to ${what}`);
}

await main("keyboard", async ({ page, errors }) => {
  await until("the graph has figures", async () => ((await api("/graph?window=60s")).body?.nodes?.length ?? 0) >= 5);
  await signIn(page);

  // The second key of a pair comes in time only where the page is not busy with itself.
  await settled(page);
  await page.keyboard.press("g");
  await page.keyboard.press("s");
  await until("g s leads to the services", async () => (await at(page)) === "/services");
  await page.getByRole("link", { name: "reviews", exact: true }).waitFor();
  await page.keyboard.press("j");
  const first = await focused(page);
  await page.keyboard.press("j");
  assert.notEqual(await focused(page), first, "j goes to the next row");
  await page.keyboard.press("/");
  await page.keyboard.type("reviews");
  await until("the filter holds", async () => (await page.locator("main tbody tr").count()) === 1);
  await page.keyboard.press("Tab");
  await tabTo(page, "the row", async () => (await focused(page)) === "reviews");
  await page.keyboard.press("Enter");
  await until("Enter opens the service", async () => (await at(page)) === "/services/default/reviews");

  await page.keyboard.press("Control+k");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.type("topology");
  await page.locator('[role="option"][aria-selected="true"]', { hasText: "Topology" }).waitFor();
  await page.keyboard.press("Enter");
  await until("the palette leads to the graph", async () => (await at(page)) === "/topology");

  // A name leads to what is called so, before pages that are about such things.
  await page.keyboard.press("Control+k");
  await page.getByRole("option", { name: /^details default$/ }).waitFor();
  await page.keyboard.type("details");
  await page.getByRole("option", { name: /^details default$/, selected: true }).waitFor();
  await page.keyboard.press("Enter");
  await until("the palette leads to the service", async () => (await at(page)) === "/services/default/details");
  await page.keyboard.press("g");
  await page.keyboard.press("t");

  await page.locator('[data-node$="/gateway"]').waitFor();
  await tabTo(page, "a node", async () => (await page.evaluate(() => document.activeElement?.hasAttribute("data-node"))) === true);
  for (let press = 0; press < 4; press += 1) await page.keyboard.press("ArrowLeft");
  await until("left leads to who calls", async () => /gateway$/.test(await focused(page)));
  await page.keyboard.press("ArrowRight");
  await until("right leads to who is called", async () => (await focused(page)) === "default/productpage");
  await page.keyboard.press("ArrowRight");
  await until("right leads on", async () => /default\/(reviews|details)/.test(await focused(page)));
  await page.keyboard.press("Enter");
  await page.getByRole("complementary").waitFor();
  await page.keyboard.press("Escape");
  await until("Esc closes the panel", async () => (await page.getByRole("complementary").count()) === 0);
  await until("the focus is back on the node", async () => /default\/(reviews|details)/.test(await focused(page)));

  await page.keyboard.press("g");
  await page.keyboard.press("c");
  await until("g c leads to the configuration", async () => (await at(page)) === "/config");
  await page.getByRole("link", { name: "New" }).waitFor();
  await tabTo(page, "New", async () => (await focused(page)) === "New");
  await page.keyboard.press("Enter");
  await page.locator("[data-editor] .cm-content").waitFor();
  const inEditor = () => page.evaluate(() => document.activeElement?.hasAttribute("data-editor") === true);
  await tabTo(page, "the editor", inEditor);
  await page.keyboard.type("kind: Nonsense");
  await page.locator('[data-dryrun="invalid"]').waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await inEditor(), false, "Tab leaves the editor");

  await tabTo(page, "a button", () => page.evaluate(() => document.activeElement?.tagName === "BUTTON"));
  await page.keyboard.press("e");
  await until("e leads into the text", inEditor);
  assert.match(await page.locator("[data-editor] .cm-content").innerText(), /^kind: Nonsense$/m, "the key itself is not typed");
  await page.keyboard.press("Tab");
  await tabTo(page, "a button", () => page.evaluate(() => document.activeElement?.tagName === "BUTTON"));
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  await until("Esc closes the help", async () => (await page.getByRole("dialog").count()) === 0);
  assert.deepEqual(errors.splice(0), []);
});
