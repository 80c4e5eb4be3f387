import { expect, test } from "vitest";
import { readDraft } from "./drafts";

test("a draft keeps its text and the revision that it was begun with", () => {
  expect(readDraft("17\na: 1\nb: 2\n")).toEqual({ text: "a: 1\nb: 2\n", base: 17 });
  expect(readDraft("0\n")).toEqual({ text: "", base: 0 });
  expect(readDraft(null)).toEqual({ text: null, base: 0 });
});
