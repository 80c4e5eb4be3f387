import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Manifest } from "../api/types";
import { KINDS } from "./kinds";
import { fromYaml, toYaml } from "./manifest";
import { balance, isRoutesOf, read, type Subject, write } from "./rules";

const reviews: Subject = { name: "reviews", namespace: "default", host: "reviews.default.svc.cluster.local", versions: ["v1", "v2", "v3"] };

const example = (name: string): Manifest[] => fromYaml(readFileSync(new URL(`../../../../examples/bookinfo/${name}.yaml`, import.meta.url), "utf8")) ?? [];
const spec = (manifests: Manifest[], kind: string) => manifests.find((each) => each.kind === kind)?.spec as Record<string, never>;

test("weights are read from the rule, and written back to what they were", () => {
  const before = [...example("destination-rule-all").filter((each) => each.metadata.name === "reviews"), ...example("virtual-service-reviews-90-10")];
  const rules = read(before, reviews);
  expect(rules.weights).toEqual({ v1: 90, v2: 10, v3: 0 });
  expect(write(before, rules, reviews)).toEqual(before);
});

test("a service without rules gets both objects, with the subsets that the shares need", () => {
  const rules = { ...read([], reviews), weights: { v1: 50, v2: 0, v3: 50 } };
  const made = write([], rules, reviews);
  expect(made.map((each) => each.kind)).toEqual(["DestinationRule", "VirtualService"]);
  expect(spec(made, "DestinationRule").subsets).toEqual([
    { name: "v1", labels: { version: "v1" } },
    { name: "v2", labels: { version: "v2" } },
    { name: "v3", labels: { version: "v3" } },
  ]);
  expect(spec(made, "VirtualService")).toEqual({
    hosts: ["reviews"],
    http: [{ route: [{ destination: { host: "reviews", subset: "v1" }, weight: 50 }, { destination: { host: "reviews", subset: "v3" }, weight: 50 }] }],
  });
  expect(read(made, reviews)).toEqual(rules);
});

test("every part of the form comes back from the YAML that it writes", () => {
  const rules = {
    weights: { v1: 100, v2: 0, v3: 0 },
    match: { kind: "header" as const, name: "end-user", value: "jason", version: "v2" },
    timeout: "3s",
    retries: { attempts: 4, perTryTimeout: "1s", retryOn: "503" },
    abort: { percent: 12.5, status: 503 },
    delay: { percent: 20, fixed: "2s" },
    mirror: { version: "v3", percent: 50 },
    breaker: { maxConnections: 7, maxPending: 3, consecutiveErrors: 2, interval: "5s", ejection: "1m" },
  };
  const text = toYaml(write([], rules, reviews));
  expect(read(fromYaml(text) ?? [], reviews)).toEqual(rules);
});

test("what the form does not know stays as it is", () => {
  const before = fromYaml(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews, namespace: default, labels: { team: books } }
spec:
  hosts: [reviews]
  exportTo: ["."]
  http:
    - match: [{ headers: { end-user: { regex: "^j" } }, port: 9080 }]
      route: [{ destination: { host: reviews, subset: v2 } }]
    - name: rest
      rewrite: { uri: /v1 }
      route: [{ destination: { host: reviews, subset: v1, port: { number: 9080 } }, headers: { request: { set: { a: b } } } }]
`) as Manifest[];
  const rules = read(before, reviews);
  const after = write(before, { ...rules, timeout: "1s" }, reviews);
  const routes = spec(after, "VirtualService") as unknown as { exportTo: string[]; http: Record<string, unknown>[] };
  expect(after.find((each) => each.kind === "VirtualService")?.metadata.labels).toEqual({ team: "books" });
  expect(routes.exportTo).toEqual(["."]);
  expect(routes.http[1]).toMatchObject({ name: "rest", rewrite: { uri: "/v1" }, timeout: "1s" });
  expect(routes.http[1]?.route).toEqual([{ destination: { host: "reviews", subset: "v1", port: { number: 9080 } }, headers: { request: { set: { a: "b" } } } }]);
});

test("taking a fault away leaves no empty fault behind", () => {
  const before = example("virtual-service-ratings-test-abort");
  const ratings = { ...reviews, name: "ratings", host: "ratings.default.svc.cluster.local", versions: ["v1"] };
  const without = write(before, { ...read(before, ratings), abort: null, delay: null }, ratings);
  expect(JSON.stringify(spec(without, "VirtualService").http)).not.toContain('"fault":{}');
});

test("a rule of a gateway, or of another namespace's service of that name, is none of this service's", () => {
  const routes = (namespace: string, more: object): Manifest => ({ apiVersion: "networking.istio.io/v1", kind: "VirtualService", metadata: { name: "x", namespace }, spec: { hosts: ["reviews"], ...more } });
  expect(isRoutesOf(routes("default", {}), reviews)).toBe(true);
  expect(isRoutesOf(routes("other", {}), reviews)).toBe(false);
  expect(isRoutesOf(routes("default", { gateways: ["front"] }), reviews)).toBe(false);
  expect(isRoutesOf(routes("default", { gateways: ["front", "mesh"] }), reviews)).toBe(true);
});

test("shares always add up to a hundred", () => {
  expect(balance({ v1: 90, v2: 10 }, "v1", 50)).toEqual({ v1: 50, v2: 50 });
  expect(balance({ v1: 100, v2: 0, v3: 0 }, "v1", 40)).toEqual({ v1: 40, v2: 30, v3: 30 });
  for (const weight of [0, 1, 33, 67, 100, 140, -5]) {
    const shared = balance({ a: 20, b: 33, c: 47 }, "b", weight);
    expect(Object.values(shared).reduce((all, each) => all + each, 0)).toBe(100);
    expect(Math.min(...Object.values(shared))).toBeGreaterThanOrEqual(0);
  }
});

test("text that is no manifest is known as such", () => {
  expect(fromYaml("a: [")).toBeNull();
  expect(fromYaml("just words")).toBeNull();
  expect(fromYaml("")).toEqual([]);
});

test("the console knows the kinds that the mesh takes", () => {
  const source = readFileSync(new URL("../../../../galley/src/kind.rs", import.meta.url), "utf8");
  const known = [...source.matchAll(/\(\s*Kind::\w+,\s*"(\w+)",\s*"(\w+)"/g)].map(([, kind, plural]) => `${kind} ${plural}`);
  expect(known.length).toBeGreaterThan(0);
  expect(KINDS.map((each) => `${each.kind} ${each.plural}`).sort()).toEqual(known.sort());
});
