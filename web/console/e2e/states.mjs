// Each page in each of its states, by answers of the API that are made up: being read, empty, filtered to nothing, told
// by some only, out of date, failed, not allowed, held elsewhere. axe finds nothing serious in any of them.
import assert from "node:assert/strict";
import { serious } from "./axe.mjs";
import { base, main, screenshot, settled, signIn, together } from "./kit.mjs";

const problem = (status, title) => ({
  status,
  contentType: "application/problem+json",
  body: JSON.stringify({ type: "urn:weft:problem:made-up", title, status, detail: "Made up by a test.", code: "made-up", trace_id: "4bf92f3577b34da6a3ce929d0e0e4736" }),
});
const json = (body) => ({ status: 200, contentType: "application/json", body: JSON.stringify(body) });
const none = json({ items: [], total: 0, revision: 1 });
const KINDS = "(virtualservices|destinationrules|gateways|serviceentries|workloadentries|workloadgroups|peerauthentications|requestauthentications|authorizationpolicies|telemetries|meshconfigs)";

/** The page, what it reads above all, and what it says where that is empty; `filter` chooses nothing. */
const VIEWS = [
  { name: "home", path: "/", reads: "/overview" },
  { name: "topology", path: "/topology", reads: "/graph", empty: json({ at: 1, window_seconds: 60, nodes: [], edges: [], reporting: { known: 0, fresh: 0, stale: [] } }), says: "No traffic yet", filter: "find=nothing-has-this-name" },
  { name: "services", path: "/services", reads: "/services", empty: none, says: "No service yet", filter: "filter=nothing-has-this-name" },
  { name: "service", path: "/services/default/reviews", reads: "/services/default/reviews" },
  { name: "routing", path: "/services/default/reviews?tab=routing", reads: "/services/default/reviews/_routing", empty: json({ host: "reviews", claimed_by: [], led_to_by: [], subsets: [] }), says: "Calls within the mesh" },
  { name: "endpoints", path: "/services/default/reviews?tab=endpoints", reads: "/services/default/reviews/_endpoints", empty: none, says: "No endpoints" },
  { name: "policies", path: "/services/default/reviews?tab=policies", reads: "/_authz/matrix", empty: json({ callers: [], services: [] }), says: "Nobody enforces policies for it" },
  { name: "identity", path: "/services/default/reviews?tab=identity", reads: "/identities" },
  { name: "service-config", path: "/services/default/reviews?tab=config", reads: "/services/default/reviews/_config", empty: json({ host: "reviews", seen_by: null, clusters: [], endpoints: [], virtual_hosts: [] }), says: "No connected proxy knows it" },
  { name: "proxies", path: "/proxies", reads: "/proxies", empty: none, says: "No proxy is connected", filter: "filter=nothing-has-this-name" },
  { name: "proxy", path: "/proxies/reviews-v1.default", reads: "/proxies/reviews-v1.default" },
  { name: "proxy-layout", path: "/proxies/reviews-v1.default?tab=layout", reads: "/proxies/reviews-v1.default/_layout" },
  { name: "proxy-policies", path: "/proxies/reviews-v1.default?tab=policies", reads: "/proxies/reviews-v1.default/_policies" },
  { name: "proxy-config", path: "/proxies/reviews-v1.default?tab=config", reads: "/proxies/reviews-v1.default/_config" },
  { name: "proxy-events", path: "/proxies/reviews-v1.default?tab=events", reads: "/proxies/reviews-v1.default/_events", empty: none, says: "Nothing happened yet" },
  { name: "proxy-stats", path: "/proxies/reviews-v1.default?tab=stats", reads: "/proxies/reviews-v1.default/_stats", filter: "counters=nothing-has-this-name" },
  { name: "traces", path: "/traces", reads: "/traces", empty: none, says: "No trace yet", filter: "filter=nothing-has-this-name" },
  { name: "config", path: "/config", reads: `/${KINDS}`, empty: none, says: "No configuration yet", filter: "filter=nothing-has-this-name" },
  { name: "object", path: "/config/destinationrules/default/reviews", reads: "/destinationrules/default/reviews" },
  { name: "history", path: "/config/destinationrules/default/reviews?tab=history", reads: "/history", empty: none, says: "No history" },
  { name: "registries", path: "/registries", reads: "/registries", empty: json({ items: [], conflicts: [] }), says: "No registry" },
  { name: "machines", path: "/machines", reads: "/members", empty: none, says: "No machine has joined" },
  { name: "tokens", path: "/machines?tab=tokens", reads: "/tokens", empty: none, says: "No join token" },
  { name: "encryption", path: "/security", reads: "/graph", empty: json({ at: 1, window_seconds: 60, nodes: [], edges: [], reporting: { known: 0, fresh: 0, stale: [] } }), says: "No traffic in this time" },
  { name: "modes", path: "/security?tab=modes", reads: "/peerauthentications", empty: none, says: "Permissive everywhere" },
  { name: "allowed", path: "/security?tab=allowed", reads: "/_authz/matrix", empty: json({ callers: [], services: [] }), says: "No service has a proxy yet" },
  { name: "identities", path: "/security?tab=identities", reads: "/identities", empty: none, says: "Nobody has an identity yet" },
  { name: "authority", path: "/security?tab=authority", reads: "/ca" },
  { name: "control-plane", path: "/control-plane", reads: "/overview" },
  { name: "changes", path: "/activity", reads: "/history", empty: none, says: "No change yet" },
  { name: "audit", path: "/activity?tab=audit", reads: "/audit", empty: none, says: "Nothing was done yet", filter: "filter=nothing-has-this-name" },
  { name: "access", path: "/access", reads: "/access/tokens", empty: none, says: "No API token" },
];

const pattern = (reads) => new RegExp(`/api/v1${reads}(\\?.*)?$`);

const bad = [];
let seen = 0;

/** Looks at a state that is there, and leaves the page as it was found. */
async function look(page, view, state) {
  await settledBut(page, state);
  // What is around it is the same in every state, and is looked at with the pages.
  bad.push(...(await serious(page, "main")).map((found) => `${view} ${state}: ${found}`));
  await screenshot(page, `state-${view}-${state}`);
  seen += 1;
}

const settledBut = (page, state) => (state === "loading" ? undefined : settled(page));

async function made(page, view, answer, state, shown) {
  await page.route(pattern(view.reads), answer);
  await page.goto(base + view.path);
  await shown().catch((error) => bad.push(`${view.name} ${state}: ${error.message.split("\n")[0]}`));
  await look(page, view.name, state);
  await page.unrouteAll({ behavior: "ignoreErrors" });
}

const content = (page) => page.locator("main");

/** The states of a view, each a piece of work. */
function states(view) {
  const pieces = [
    (page) => made(page, view, () => undefined, "loading", () => loading(page)),
    (page) => made(page, view, (route) => route.fulfill(problem(500, "The control plane failed")), "error", () => failed(page)),
    (page) => made(page, view, (route) => route.fulfill(problem(403, "This is not allowed")), "forbidden", () => content(page).getByRole("heading", { name: "Your role does not show this" }).first().waitFor()),
    (page) => disconnected(page, view),
  ];
  if (view.empty) pieces.push((page) => made(page, view, (route) => route.fulfill(view.empty), "empty", () => content(page).getByRole("heading", { name: view.says }).waitFor()));
  if (view.filter) pieces.push((page) => filtered(page, view));
  return pieces;
}

async function loading(page) {
  await content(page).getByRole("status", { name: "Loading" }).first().waitFor();
  await content(page).getByText("Reading…").first().waitFor();
}

async function failed(page) {
  const alert = content(page).getByRole("alert").first();
  await alert.waitFor();
  const words = await alert.innerText();
  for (const part of ["The control plane failed", "Made up by a test.", "trace 4bf92f3577b34da6a3ce929d0e0e4736", "Try again", "Copy"]) assert.ok(words.includes(part), `no ${part} in ${words}`);
}

async function disconnected(page, view) {
  await page.goto(base + view.path);
  await content(page).getByRole("heading", { level: 1 }).waitFor();
  await settled(page);
  const before = await content(page).innerText();
  await page.route("**/api/v1/**", (route) => route.abort());
  // What a page does that comes back into sight.
  const told = content(page).getByText("Not up to date").first();
  const again = setInterval(() => void page.evaluate(() => document.dispatchEvent(new Event("visibilitychange", { bubbles: true }))).catch(() => undefined), 500);
  await told.waitFor().catch(() => bad.push(`${view.name} stale: it does not say so`));
  clearInterval(again);
  const after = await content(page).innerText();
  if (after.length < before.length / 2) bad.push(`${view.name} stale: what was read is gone`);
  await look(page, view.name, "stale");
  await page.unrouteAll({ behavior: "ignoreErrors" });
}

async function filtered(page, view) {
  await page.goto(`${base}${view.path}${view.path.includes("?") ? "&" : "?"}${view.filter}`);
  const clear = content(page).getByRole("button", { name: "Clear the filter" });
  await clear.waitFor();
  await look(page, view.name, "filtered");
  await clear.click();
  await clear.waitFor({ state: "detached" });
}

/** Sources of a page that do not answer: the page says which, and shows the rest. */
const PARTIAL = [
  { name: "topology", path: "/topology", reads: "/graph", change: (graph) => ({ ...graph, reporting: { known: 7, fresh: 5, stale: ["away-1", "away-2"] } }), says: "5 of 7 sources answered. Missing: away-1, away-2" },
  { name: "registries", path: "/registries", reads: "/registries", change: (all) => ({ ...all, items: all.items.map((each, at) => (at === 0 ? { ...each, state: "stale", reason: "out of reach" } : each)) }), says: "sources answered. Missing: " },
  { name: "config", path: "/config", reads: "/gateways", says: "sources answered. Missing: gateways" },
  { name: "services", path: "/services", reads: "/graph", says: "1 of 2 sources answered. Missing: the figures of the traffic" },
  { name: "control-plane", path: "/control-plane", reads: "/proxies", says: "3 of 4 sources answered. Missing: the proxies" },
  { name: "home", path: "/", reads: "/graph", says: "The figures of the traffic cannot be read now." },
];

async function partial(page, view) {
  const answer = async (route) => {
    if (!view.change) return route.fulfill(problem(500, "The control plane failed"));
    const response = await route.fetch();
    return route.fulfill({ response, json: view.change(await response.json()) });
  };
  await made(page, view, answer, "partial", () => content(page).getByText(view.says).first().waitFor());
}

/** An object that lives in a file. */
async function held(page) {
  const view = { name: "object", path: "/config/destinationrules/default/reviews", reads: "/destinationrules/default/reviews" };
  const elsewhere = async (route) => {
    const response = await route.fetch();
    return route.fulfill({ response, json: { ...(await response.json()), revision: 0, provenance: { file: "mesh/reviews.yaml" } } });
  };
  await made(page, view, elsewhere, "read-only", () => content(page).getByText("mesh/reviews.yaml").first().waitFor());
}

await main("states", async ({ browser, page, errors }) => {
  await signIn(page);
  const pieces = [...VIEWS.flatMap(states), ...PARTIAL.map((view) => (page) => partial(page, view)), held];
  await together(browser, page, errors, pieces, (page, piece) => piece(page).catch((error) => bad.push(error.message.split("\n")[0])));
  console.log(`${seen} states looked at`);
  // Answers that fail are in the browser's log by themselves.
  bad.push(...errors.splice(0).filter((error) => error.startsWith("uncaught")));
  assert.deepEqual(bad, []);
});
