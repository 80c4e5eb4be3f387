import { expect, test } from "vitest";
import { place } from "./layout";

const members = (count: number) => Array.from({ length: count }, (_, index) => ({ id: `service-${index}` }));
const calls = (count: number, each: number) =>
  members(count).flatMap(({ id }, index) => Array.from({ length: each }, (_, step) => ({ source: id, destination: `service-${(index * 7 + step * 31 + 1) % count}` })));
const columns = (places: Map<string, { x: number }>) => new Set([...places.values()].map(({ x }) => x)).size;

test("stands callers to the left of whom they call", () => {
  const places = place(members(3), [
    { source: "service-0", destination: "service-1" },
    { source: "service-1", destination: "service-2" },
  ]);
  const x = (id: string) => places.get(id)?.x ?? 0;
  expect(x("service-0")).toBeLessThan(x("service-1"));
  expect(x("service-1")).toBeLessThan(x("service-2"));
});

test.each([4, 9])("stands services that each call %i of 500 in rows, since no order would be found in time", (each) => {
  // Those that nobody calls make it no simpler.
  const places = place(members(1500), calls(500, each));
  expect(places.size).toBe(1500);
  expect(columns(places)).toBe(Math.ceil(Math.sqrt(1500 * 0.75)));
});

test("finds an order for many services that call few", () => {
  const tree = members(400).slice(1).map(({ id }, index) => ({ source: `service-${Math.floor(index / 20)}`, destination: id }));
  expect(columns(place(members(400), tree))).toBeLessThan(6);
});
