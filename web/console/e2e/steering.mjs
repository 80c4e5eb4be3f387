// What is steered from the browser: a registry that is paused and resumed, what a proxy logs, what "Copy as" has of it.
import assert from "node:assert/strict";
import { serious } from "./axe.mjs";
import { api, go, main, screenshot, signIn, until, weft } from "./kit.mjs";

const state = async (name) => (await api("/registries")).body.items.find((each) => each.name === name)?.state;
// A proxy that is busy may give no answer in time, and is asked again.
const told = (...words) => {
  try {
    return weft(...words).trim();
  } catch {
    return "";
  }
};
const shown = (page, name, word) => page.getByRole("row", { name: new RegExp(name) }).getByText(word, { exact: true }).waitFor();

await main("steering", async ({ page, errors }) => {
  await signIn(page);
  await go(page, "/registries");
  const { name } = (await api("/registries")).body.items.find((each) => each.name !== "static");
  const before = await state(name);
  await page.getByRole("row", { name: new RegExp(name) }).getByText("Copy as").click();
  await page.getByText(`weft registry pause ${name}`, { exact: true }).waitFor();
  const copied = page.getByText(`weft registry resync ${name}`, { exact: true });
  await copied.waitFor();
  const lies = (element) => {
    const { left, top, width, height } = element.getBoundingClientRect();
    return element.contains(document.elementFromPoint(left + width / 2, top + height / 2));
  };
  await until("nothing cuts off or covers what can be copied", () => copied.evaluate(lies));
  assert.deepEqual(await serious(page), []);
  await screenshot(page, "registry-copies");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: `Pause ${name}` }).click();
  await shown(page, name, "paused");
  assert.equal(await state(name), "paused");
  await page.getByRole("button", { name: `Resume ${name}` }).click();
  await shown(page, name, before);
  await page.getByRole("button", { name: `Read anew ${name}` }).click();
  await until("it is as before", async () => (await state(name)) === before);

  await go(page, "/proxies/reviews-v1.default");
  const level = page.getByLabel("Log level");
  await level.selectOption("debug");
  await until("the proxy logs more", async () => /^debug(,|$)/.test(told("log-level", "reviews-v1.default")));
  await level.selectOption("info");
  await until("the proxy logs as before", async () => /^info(,|$)/.test(told("log-level", "reviews-v1.default")));

  await go(page, "/proxies/reviews-v1.default?tab=stats");
  await page.getByLabel("Names begin with").fill("server.");
  await page.getByText("server.live").first().waitFor();
  assert.deepEqual(errors.splice(0), []);
});
