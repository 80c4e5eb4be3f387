import { expect, test } from "vitest";
import { pageOf, ROWS } from "./page";

test("a short table has one page", () => {
  expect(pageOf(0, 0)).toEqual({ at: 0, count: 1, from: 0, to: 0 });
  expect(pageOf(ROWS, 0)).toEqual({ at: 0, count: 1, from: 0, to: ROWS });
});

test("pages follow each other, and one that is no more becomes the last", () => {
  expect(pageOf(ROWS + 5, 1)).toEqual({ at: 1, count: 2, from: ROWS, to: ROWS + 5 });
  expect(pageOf(ROWS + 5, 7).at).toBe(1);
  expect(pageOf(3, 7).at).toBe(0);
});
