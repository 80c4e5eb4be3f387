// The editor: a broken rule is told where it is broken and changes nothing; what was changed can be taken back.
import assert from "node:assert/strict";
import { api, go, main, screenshot, signIn, until } from "./kit.mjs";

const RULE = "/virtualservices/default/reviews";
const yaml = (timeout) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts:
    - reviews
  http:
    - timeout: ${timeout}
      route:
        - destination:
            host: reviews
`;

async function write(page, text) {
  const editor = page.locator("[data-editor] .cm-content");
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText(text);
}

await main("editor", async ({ page, errors }) => {
  await signIn(page);
  await go(page, "/config/new");
  await write(page, yaml("soon"));
  // What there was before is not valid either.
  await page.locator('[data-dryrun="invalid"]', { hasText: /line 10/ }).waitFor();
  const told = await page.locator("[data-dryrun]").innerText();
  assert.match(told, /line 10/);
  assert.match(told, /spec\.http\[0\]\.timeout/);
  await page.locator("[data-editor] .cm-lintRange-error").first().waitFor();
  assert.equal(await page.getByRole("button", { name: "Apply", exact: true }).isDisabled(), true);
  await screenshot(page, "editor-broken");
  assert.equal((await api(RULE)).status, 404, "nothing was applied");

  // What is doubtful only stands at its line, too.
  await write(page, yaml("3s").replace("host: reviews", "host: nowhere"));
  await page.locator('[data-dryrun="valid"]').getByText(/line 1[23]:/).first().waitFor();
  await page.locator("[data-editor] .cm-lintRange-warning").first().waitFor();
  await screenshot(page, "editor-doubtful");

  await write(page, yaml("3s"));
  // What was doubtful is valid, too.
  await page.locator('[data-dryrun="valid"]').filter({ hasNotText: /line 1[23]:/ }).waitFor();
  await page.keyboard.press("Control+Enter");
  await until("the rule is there", async () => (await api(RULE)).body?.object?.spec?.http?.[0]?.timeout === "3s");
  await page.getByRole("heading", { name: "Configuration", exact: true }).waitFor();

  await go(page, "/config/virtualservices/default/reviews");
  await page.locator("[data-editor] .cm-content").waitFor();
  await write(page, yaml("9s"));
  await page.getByRole("tab", { name: "Difference" }).click();
  await page.locator(".cm-merge-b .cm-changedLine").first().waitFor();
  await screenshot(page, "editor-difference");
  await page.getByRole("tab", { name: "Edit" }).click();
  await page.locator('[data-dryrun="valid"]').waitFor();
  await page.getByLabel("Why, for the history").fill("wait longer");
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await until("the rule is changed", async () => (await api(RULE)).body?.object?.spec?.http?.[0]?.timeout === "9s");

  await page.getByRole("tab", { name: "History" }).click();
  const rows = page.getByRole("region", { name: "Revisions" }).locator("tbody tr");
  await until("both revisions are listed", async () => (await rows.count()) === 2);
  assert.match(await rows.first().innerText(), /wait longer/);
  await rows.last().getByRole("button").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(/timeout: "?3s"?$/).waitFor();
  await screenshot(page, "editor-revision");
  await dialog.getByRole("button", { name: "Bring this object back to here" }).click();
  // What it would do is shown first, and nothing is done yet.
  await dialog.getByText("That would change 1 object").waitFor();
  await dialog.getByText(/^-\s+timeout: "?9s"?$/).waitFor();
  await screenshot(page, "editor-way-back");
  assert.equal((await api(RULE)).body.object.spec.http[0].timeout, "9s");
  await dialog.getByRole("button", { name: "Bring this object back", exact: true }).click();
  await until("the rule is what it was", async () => (await api(RULE)).body?.object?.spec?.http?.[0]?.timeout === "3s");

  // What is not applied yet outlives another page, and this one read anew; opening it is no act of anybody.
  await until("the dialog is gone", async () => (await dialog.count()) === 0);
  await page.getByRole("tab", { name: "Edit" }).click();
  await write(page, yaml("12s"));
  await page.keyboard.press("Control+a");
  await page.keyboard.type("k");
  await page.keyboard.press("Control+z");
  await go(page, "/services");
  await page.getByRole("heading", { name: "Services" }).waitFor();
  await go(page, "/config/virtualservices/default/reviews");
  await page.locator("[data-editor]").getByText("timeout: 12s").waitFor();
  await page.reload();
  await page.locator("[data-editor]").getByText("timeout: 12s").waitFor();
  await page.locator('[data-dryrun="valid"]').waitFor();
  assert.deepEqual((await api("/audit?limit=1000")).body.items.filter((entry) => entry.dry_run), []);
  await page.getByRole("button", { name: "Discard" }).click();
  await page.locator("[data-editor]").getByText("timeout: 3s").waitFor();
  assert.deepEqual(errors.splice(0), []);
});
