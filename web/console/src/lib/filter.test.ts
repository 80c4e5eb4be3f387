import { expect, test } from "vitest";
import { compare, matches } from "./filter";

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
