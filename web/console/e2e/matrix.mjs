// Who may call whom: the page shows each caller against each service, follows a policy, and says because of what; the
// service's own page tells the same of it.
import assert from "node:assert/strict";
import { serious } from "./axe.mjs";
import { api, go, main, screenshot, settled, signIn, until } from "./kit.mjs";

const ONLY_PRODUCTPAGE = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: reviews-callers
  namespace: default
spec:
  selector:
    matchLabels:
      app: reviews
  rules:
    - from:
        - source:
            principals: [cluster.local/ns/default/sa/bookinfo-productpage]
`;

/** The word in the cell of a caller and a service. */
async function decision(page, caller, service) {
  const table = page.getByRole("region", { name: "Who may call whom" });
  const heads = (await table.locator("thead th").allInnerTexts()).map((text) => text.trim());
  const at = heads.findIndex((text) => text.startsWith(`${service}.default`));
  assert.ok(at > 0, `no ${service} in ${heads}`);
  const row = table.locator("tbody tr", { hasText: `sa/bookinfo-${caller}` });
  return (await row.locator("td").nth(at).innerText()).trim();
}

await main("matrix", async ({ page, errors }) => {
  await until("every service has a proxy", async () => (await api("/_authz/matrix")).body?.services?.length >= 4);
  await signIn(page);
  await go(page, "/security?tab=allowed");
  await page.getByRole("region", { name: "Who may call whom" }).waitFor();
  await settled(page);
  for (const caller of ["productpage", "ratings"]) assert.equal(await decision(page, caller, "reviews"), "allowed");

  const applied = await api("/_apply", { method: "POST", headers: { "content-type": "application/yaml" }, body: ONLY_PRODUCTPAGE });
  assert.equal(applied.status, 200);
  await until("the page follows the policy", async () => (await decision(page, "ratings", "reviews")) === "denied");
  assert.equal(await decision(page, "productpage", "reviews"), "allowed");
  assert.equal(await decision(page, "ratings", "details"), "allowed", "other services are as they were");
  assert.deepEqual(await serious(page), []);
  await screenshot(page, "matrix-denied");

  await go(page, "/services/default/reviews?tab=policies");
  const callers = page.getByRole("region", { name: "Who may call it" });
  const ratings = callers.locator("tbody tr", { hasText: "sa/bookinfo-ratings" });
  await ratings.getByText("denied", { exact: true }).waitFor();
  assert.match(await callers.locator("tbody tr", { hasText: "sa/bookinfo-productpage" }).innerText(), /reviews-callers/);
  await page.getByRole("link", { name: "default/reviews-callers" }).waitFor();
  assert.deepEqual(await serious(page), []);
  await screenshot(page, "matrix-service");

  // The edge that a policy closes says so, and prepares the rule that opens it for this caller alone.
  const closed = ONLY_PRODUCTPAGE.replaceAll("reviews", "ratings").replace("bookinfo-productpage", "nobody");
  assert.equal((await api("/_apply", { method: "POST", headers: { "content-type": "application/yaml" }, body: closed })).status, 200);
  await until("the edge is there", async () => (await api("/graph?window=60s")).body?.edges?.some((edge) => edge.id.startsWith("default/reviews>default/ratings")));
  await go(page, "/topology?group=none&at=default%2Freviews%3Edefault%2Fratings");
  await page.locator('[data-allowed="denied"]').waitFor();
  await page.locator('[data-edge^="default/reviews>default/ratings"]', { hasText: "denied" }).waitFor();
  assert.deepEqual(await serious(page), []);
  await screenshot(page, "edge-denied");
  await page.getByRole("button", { name: "Allow this" }).click();
  await page.locator('[data-dryrun="valid"]').waitFor();
  await screenshot(page, "edge-allow");
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.getByRole("heading", { name: "Configuration", exact: true }).waitFor();
  await go(page, "/security?tab=allowed");
  // Until it has asked again, the page shows what it knew before either policy.
  await until("the caller may, and nobody else", async () => (await decision(page, "reviews", "ratings")) === "allowed" && (await decision(page, "productpage", "ratings")) === "denied");
  assert.deepEqual(errors.splice(0), []);
});
