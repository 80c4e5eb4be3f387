import { expect, test } from "vitest";
import { located } from "./lines";

const TEXT = `kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
---
kind: VirtualService
metadata: { name: reviews }
spec:
  hosts:
    - reviews
  http:
    - route:
        - destination:
            host: nowhere
`;

const lines = (findings: Parameters<typeof located>[1]) => located(TEXT, findings).map(({ line, column }) => [line, column]);

test("a finding stands at the line of its field in the document of its object", () => {
  const object = { kind: "VirtualService", namespace: "default", name: "reviews" };
  expect(lines([{ pointer: "#/spec/http/0/route/0/destination/host", line: 0, object }])).toEqual([[15, 13]]);
  expect(lines([{ pointer: "#/spec/host", line: 0 }])).toEqual([[5, 3]]);
});

test("what is not there stands at the deepest part that is", () => {
  const object = { kind: "VirtualService", namespace: "default", name: "reviews" };
  expect(lines([{ pointer: "/spec/http/0/timeout", object }])).toEqual([[13, 7]]);
  expect(lines([{ pointer: "/nothing", object }, { detail: "no pointer", object }])).toEqual([[7, 1], [7, 1]]);
});

test("a line that was told stays, and a text that is no YAML is no trap", () => {
  expect(lines([{ pointer: "/spec/host", line: 3, column: 1 }])).toEqual([[3, 1]]);
  expect(located("a: [", [{ pointer: "/a" }])).toHaveLength(1);
  expect(located("", [{ pointer: "/a" }])).toEqual([{ pointer: "/a" }]);
});
