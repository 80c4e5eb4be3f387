// The change of the root of trust from the browser: each step asks first, tells how many have followed, and can be
// taken back.
import assert from "node:assert/strict";
import { serious } from "./axe.mjs";
import { api, go, main, screenshot, signIn, until } from "./kit.mjs";

const phase = (page, name) => page.locator(`[data-phase="${name}"]`).waitFor();

/** Opens a step's question, and says yes to it. */
async function step(page, button, yes) {
  await page.getByRole("button", { name: button, exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: yes, exact: true }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

await main("authority", async ({ page, errors }) => {
  await signIn(page);
  await go(page, "/security?tab=authority");
  await phase(page, "idle");
  await page.getByRole("button", { name: "Begin a rotation" }).click();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.equal((await api("/ca")).body.rotation.phase, "idle", "nothing is done before it is confirmed");

  await step(page, "Begin a rotation", "Begin");
  await phase(page, "staged");
  await until("every root is shown", async () => (await api("/ca")).body.roots.length === (await page.getByText("Fingerprint").count()));
  await step(page, "Tell everybody", "Tell everybody");
  await phase(page, "distributed");
  await page.getByText("100 % of").waitFor();
  assert.deepEqual(await serious(page), []);
  await screenshot(page, "authority-distributed");

  await go(page, "/control-plane");
  await phase(page, "distributed");
  await step(page, "Step back", "Go back");
  await phase(page, "staged");
  await step(page, "Step back", "Go back");
  await phase(page, "idle");
  assert.equal((await api("/ca")).body.roots.length, 1, "one root is left");
  assert.deepEqual(errors.splice(0), []);
});
