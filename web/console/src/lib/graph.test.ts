import { expect, test } from "vitest";
import type { Graph, GraphEdge, GraphNode } from "../api/types";
import { byNamespace, edgeTone, figures, top } from "./graph";
import { frame, HEIGHT, neighbour, place, WIDTH } from "./layout";

const node = (id: string, namespace: string, rps: number, errors = 0): GraphNode => ({
  id,
  kind: "service",
  namespace,
  name: id.split("/")[1] ?? id,
  platforms: ["vm"],
  versions: [],
  endpoints: { ready: 1, total: 2 },
  requests_per_second: rps,
  error_ratio: errors,
  latency_ms: { p50: 1, p95: rps, p99: 9 },
  health: errors > 0.05 ? "failing" : "healthy",
});

const edge = (source: string, destination: string, rps: number, more: Partial<GraphEdge> = {}): GraphEdge => ({
  id: `${source}>${destination}>http`,
  source,
  destination,
  protocol: "http",
  requests_per_second: rps,
  error_ratio: 0,
  latency_ms: { p50: 1, p95: 2, p99: 3 },
  mtls_ratio: 1,
  denied_per_second: 0,
  codes: { "200": rps },
  versions: [],
  ...more,
});

const graph: Graph = {
  at: 0,
  window_seconds: 60,
  nodes: [node("a/one", "a", 1), node("a/two", "a", 3, 0.4), node("b/three", "b", 4)],
  edges: [edge("a/one", "a/two", 3), edge("a/one", "b/three", 1, { mtls_ratio: 0 }), edge("a/two", "b/three", 3, { error_ratio: 0.2 })],
  reporting: { known: 3, fresh: 3, stale: [] },
};

test("mutual TLS counts by traffic, not by callers", () => {
  expect(figures(graph).get("b/three")?.mtls).toBe(0.75);
  expect(figures(graph).get("a/one")?.mtls).toBeNull();
});

test("a namespace stands for its services, and keeps their sums and their worst", () => {
  const grouped = byNamespace(graph, new Set());
  expect(grouped.nodes.map((each) => each.id).sort()).toEqual(["namespace:a", "namespace:b"]);
  const a = grouped.nodes.find((each) => each.id === "namespace:a");
  expect(a?.requests_per_second).toBe(4);
  expect(a?.error_ratio).toBeCloseTo(0.3);
  expect(a?.health).toBe("failing");
  expect(a?.endpoints).toEqual({ ready: 2, total: 4 });
  expect(grouped.edges).toHaveLength(1);
  expect(grouped.edges[0]).toMatchObject({ source: "namespace:a", destination: "namespace:b", requests_per_second: 4 });
  expect(grouped.edges[0]?.error_ratio).toBeCloseTo(0.15);
  expect(grouped.edges[0]?.codes).toEqual({ "200": 4 });
});

test("the versions of a service count once in its namespace", () => {
  const versions = ["v1", "v2"].map((version) => ({ ...node(`a/one@${version}`, "a", 1), part_of: "a/one" }));
  const a = byNamespace({ ...graph, nodes: [...graph.nodes, ...versions] }, new Set()).nodes.find((each) => each.id === "namespace:a");
  expect(a).toMatchObject({ members: 2, requests_per_second: 4, endpoints: { ready: 2, total: 4 } });
});

test("a namespace that was opened shows its services", () => {
  const grouped = byNamespace(graph, new Set(["a"]));
  expect(grouped.nodes.map((each) => each.id).sort()).toEqual(["a/one", "a/two", "namespace:b"]);
  expect(grouped.edges.map((each) => each.destination).sort()).toEqual(["a/two", "namespace:b", "namespace:b"]);
});

test("five thousand edges of five hundred services are grouped in no time to speak of", () => {
  const nodes = Array.from({ length: 500 }, (_, at) => node(`n${at % 20}/s${at}`, `n${at % 20}`, 1));
  const edges = Array.from({ length: 5000 }, (_, at) => edge(nodes[at % 500]?.id ?? "", nodes[(at * 7 + 3) % 500]?.id ?? "", 1));
  const grouped = byNamespace({ ...graph, nodes, edges }, new Set());
  expect(grouped.nodes).toHaveLength(20);
  expect(grouped.edges.length).toBeLessThanOrEqual(380);
});

test("an edge says what is worst about it", () => {
  expect(edgeTone(edge("a", "b", 10))).toBe("ok");
  expect(edgeTone(edge("a", "b", 10, { error_ratio: 0.02 }))).toBe("warn");
  expect(edgeTone(edge("a", "b", 10, { error_ratio: 0.2 }))).toBe("bad");
  expect(edgeTone(edge("a", "b", 0))).toBe("idle");
  expect(edgeTone(edge("a", "b", 0, { denied_per_second: 2 }))).toBe("denied");
  expect(edgeTone(edge("a", "b", 10, { denied_per_second: 1 }))).toBe("denied");
  expect(edgeTone(edge("a", "b", 100, { denied_per_second: 1 }))).toBe("ok");
});

test("the top is in order and leaves out what has nothing", () => {
  expect(top(graph.nodes, (each) => each.error_ratio).map((each) => each.id)).toEqual(["a/two"]);
  expect(top(graph.nodes, (each) => each.requests_per_second, 2).map((each) => each.id)).toEqual(["b/three", "a/two"]);
});

test("callers stand left of the called, and always at the same place", () => {
  const ids = graph.nodes;
  const places = place(ids, graph.edges);
  const x = (id: string) => places.get(id)?.x ?? Number.NaN;
  expect(x("a/one")).toBeLessThan(x("a/two"));
  expect(x("a/two")).toBeLessThan(x("b/three"));
  expect([...place([...ids].reverse(), [...graph.edges].reverse())].sort()).toEqual([...places].sort());
});

test("a circle and a call of oneself are laid out all the same", () => {
  const places = place([{ id: "a" }, { id: "b" }], [edge("a", "b", 1), edge("b", "a", 1), edge("a", "a", 1)]);
  expect([...places.keys()].sort()).toEqual(["a", "b"]);
});

test("arrows lead along the edges, and up and down to the next", () => {
  const edges = [edge("front", "up", 1), edge("front", "down", 1)];
  const places = place([{ id: "front" }, { id: "up" }, { id: "down" }], edges);
  const right = neighbour("front", "right", places, edges);
  expect(["up", "down"]).toContain(right);
  expect(neighbour("up", "left", places, edges)).toBe("front");
  expect(neighbour("front", "left", places, edges)).toBeNull();
  const below = (places.get("up")?.y ?? 0) < (places.get("down")?.y ?? 0) ? ["up", "down"] : ["down", "up"];
  expect(neighbour(below[0] as string, "down", places, edges)).toBe(below[1]);
});

test("the versions of a service stand within its frame, and nobody else does", () => {
  const parts = ["v1", "v2", "v3"].map((version) => ({ id: `reviews@${version}`, part_of: "reviews" }));
  const nodes = [{ id: "page" }, { id: "reviews" }, { id: "details" }, { id: "ratings" }, ...parts];
  const edges = [edge("page", "details", 1), edge("page", "reviews", 1), ...parts.map(({ id }) => edge("page", id, 1)), edge("reviews@v2", "ratings", 1)];
  const places = place(nodes, edges);
  const at = (id: string) => places.get(id) ?? { x: Number.NaN, y: Number.NaN };
  const around = frame(parts.map(({ id }) => at(id)));
  expect(at("reviews")).toEqual({ x: around.x, y: around.y });
  const inside = ({ x, y }: { x: number; y: number }) => x < around.x + around.width && x + WIDTH > around.x && y < around.y + around.height && y + HEIGHT > around.y;
  expect(nodes.filter(({ id }) => inside(at(id))).map(({ id }) => id).sort()).toEqual(["reviews", "reviews@v1", "reviews@v2", "reviews@v3"]);
  expect(at("page").x).toBeLessThan(at("reviews@v1").x);
  expect(at("reviews@v1").y).toBeLessThan(at("reviews@v2").y);
  expect(at("reviews@v2").y).toBeLessThan(at("reviews@v3").y);
});

test("where everybody calls everybody, nobody stands on another", () => {
  const ids = Array.from({ length: 20 }, (_, at) => `n${at}`);
  const all = ids.flatMap((from) => ids.map((to) => edge(from, to, 1)));
  const places = [...place(ids.map((id) => ({ id })), all).values()].map(({ x, y }) => `${x} ${y}`);
  expect(new Set(places).size).toBe(20);
});
