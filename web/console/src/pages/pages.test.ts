import { expect, test } from "vitest";
import { advice } from "../lib/lines";
import { undoing } from "./config/history";
import { concerns, placeOf } from "./home/problems";
import { allowing } from "./topology/panel";

const rule = { kind: "VirtualService", namespace: "default", name: "reviews", change: "configured" as const };
const revision = (...changes: (typeof rule)[]) => ({ revision: 7, at: 0, author: "", message: "", changes });

test("a change of one object is undone alone; one of several only while nothing came after it", () => {
  const object = { kind: rule.kind, namespace: rule.namespace, name: rule.name };
  expect(undoing(revision(rule), false)).toEqual({ revision: 6, object });
  expect(undoing(revision(rule, { ...rule, name: "ratings" }), true)).toEqual({ revision: 6 });
  expect(undoing(revision(rule, { ...rule, name: "ratings" }), false)).toBeNull();
  expect(undoing(revision(rule, { ...rule, name: "ratings" }), false, object)).toEqual({ revision: 6, object });
});

test("a problem of an edge leads to the edge, and concerns the service that is called", () => {
  const trouble = { code: "WFT1601", severity: "error" as const, object: "default/reviews > default/ratings", message: "", link: "/api/v1/services/default/ratings" };
  expect(placeOf(trouble)).toBe("/topology?group=none&at=default%2Freviews%3Edefault%2Fratings");
  expect(placeOf({ ...trouble, object: "x" })).toBe("/services/default/ratings");
  expect(concerns(trouble, { namespace: "default", name: "ratings", host: "ratings.default.svc.cluster.local" })).toBe(true);
  expect(concerns(trouble, { namespace: "default", name: "reviews", host: "reviews.default.svc.cluster.local" })).toBe(false);
});

test("a call is allowed to the workloads of the service alone", () => {
  const cart = { namespace: "shop", name: "cart" };
  const rule = allowing("cluster.local/ns/default/sa/web", cart, { app: "cart", version: "v1" });
  expect(rule?.metadata).toEqual({ name: "allow-web-to-cart", namespace: "shop" });
  expect(rule?.spec).toEqual({ selector: { matchLabels: { app: "cart" } }, action: "ALLOW", rules: [{ from: [{ source: { principals: ["cluster.local/ns/default/sa/web"] } }] }] });
  expect(allowing("cluster.local/ns/default/sa/web", cart, { version: "v1" })).toBeNull();
});

test("a suggestion of one word is a name", () => {
  expect(advice("route")).toBe("did you mean `route`?");
  expect(advice("take it out")).toBe("take it out");
});
