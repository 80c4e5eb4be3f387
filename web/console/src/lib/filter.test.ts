import { expect, test } from "vitest";
import { compare, matches, rank } from "./filter";

const reviews = { name: "reviews", ns: "default", health: "failing" };

test("each word has to be found, in any case", () => {
  expect(matches("REV def", reviews)).toBe(true);
  expect(matches("rev other", reviews)).toBe(false);
  expect(matches("", reviews)).toBe(true);
});

test("a word may name its field, or be unwanted", () => {
  expect(matches("health:fail", reviews)).toBe(true);
  expect(matches("name:default", reviews)).toBe(false);
  expect(matches("-health:failing", reviews)).toBe(false);
  expect(matches("-ratings", reviews)).toBe(true);
  expect(matches("unknown:x", reviews)).toBe(false);
});

test("numbers sort as numbers, and what is not known comes last", () => {
  expect(["v10", "v9", "v1"].sort(compare)).toEqual(["v1", "v9", "v10"]);
  expect([3, null, 1].sort(compare)).toEqual([1, 3, null]);
});

test("a name comes before what is said of other things, and a whole name before a part of one", () => {
  const found = (search: string, things: string[][]) => things.map((thing) => [rank(search, thing), thing[0]] as const).filter(([score]) => score > 0).sort(([a], [b]) => b - a).map(([, name]) => name);
  const things = [["Security", "identities", "details"], ["Activity", "revisions"], ["details-v1"], ["details"], ["reviews"]];
  expect(found("details", things)).toEqual(["details", "details-v1", "Security"]);
  expect(found("rev", things)).toEqual(["reviews", "Activity"]);
  expect(found("details v1", things)).toEqual(["details-v1"]);
  expect(found("nobody", things)).toEqual([]);
});
