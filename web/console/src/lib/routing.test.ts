import { expect, test } from "vitest";
import { steps } from "./routing";

test("a rule tells which requests it takes, where they go, and what happens to them", () => {
  const [jason, rest] = steps({
    http: [
      { match: [{ headers: { "end-user": { exact: "jason" } }, uri: { prefix: "/reviews" } }, { port: 9080 }], route: [{ destination: { host: "reviews", subset: "v2" } }], timeout: "2s" },
      {
        route: [
          { destination: { host: "reviews", subset: "v1" }, weight: 3 },
          { destination: { host: "reviews", subset: "v3", port: { number: 9080 } }, weight: 1 },
        ],
        fault: { abort: { percentage: { value: 10 }, httpStatus: 503 } },
        mirror: { host: "reviews", subset: "v2" },
      },
    ],
  });
  expect(jason?.when).toEqual([["header end-user is jason", "path begins with /reviews"], ["port 9080"]]);
  expect(jason?.targets).toEqual([{ host: "reviews", subset: "v2", port: null, share: 1 }]);
  expect(jason?.does).toEqual(["timeout 2s"]);
  expect(rest?.when).toEqual([]);
  expect(rest?.targets.map(({ subset, share, port }) => [subset, share, port])).toEqual([["v1", 0.75, null], ["v3", 0.25, 9080]]);
  expect(rest?.does).toEqual(["fault: 10 % get 503", "100 % mirrored to reviews, v2"]);
});

test("what leads nowhere says what becomes of it", () => {
  const found = steps({ http: [{ redirect: { uri: "/new" } }, { directResponse: { status: 404 } }], tls: [{ match: [{ sniHosts: ["a", "b"] }], route: [{ destination: { host: "x" } }] }] });
  expect(found.map((step) => step.does)).toEqual([["redirected to /new"], ["answered with 404"], []]);
  expect(found[2]).toMatchObject({ protocol: "tls", when: [["server name a or b"]] });
});
