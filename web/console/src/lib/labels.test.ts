import { expect, test } from "vitest";
import { along, labels } from "./labels";

test("a curve begins and ends at its ends, and is halfway in the middle", () => {
  const [from, to] = [{ x: 0, y: 0 }, { x: 100, y: 60 }];
  expect(along(from, to, 0, false)).toEqual(from);
  expect(along(from, to, 1, false)).toEqual(to);
  expect(along(from, to, 0.5, false)).toEqual({ x: 50, y: 30 });
  expect(along(from, to, 0.5, true)).toEqual({ x: 50, y: 30 });
});

test("words make way for nodes and for each other", () => {
  const places = new Map([["page", { x: 0, y: 0 }], ["reviews", { x: 400, y: 0 }], ["ratings", { x: 800, y: 0 }]]);
  const edges = [
    { id: "a", source: "page", destination: "reviews" },
    { id: "b", source: "page", destination: "ratings" },
    { id: "c", source: "reviews", destination: "ratings" },
  ];
  const parts = labels(edges, places, [...places.keys()], false);
  expect(parts.get("a")).toBe(0.5);
  // Halfway it would stand on the node between.
  expect(parts.get("b")).not.toBe(0.5);
  expect(parts.size).toBe(3);
});
