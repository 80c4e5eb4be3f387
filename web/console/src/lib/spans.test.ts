import { expect, test } from "vitest";
import { draw, type Span } from "./spans";

const span = (span_id: string, parent_id: string | null, start_us: number, duration_us: number): Span => ({ span_id, parent_id, service: "s", proxy: "p", name: "n", kind: "server", start_us, duration_us, status: "ok", attributes: {} });

test("callers come before those they call, with their shares of the whole", () => {
  const drawn = draw([span("c", "b", 120, 40), span("a", null, 100, 100), span("b", "a", 110, 80)]);
  expect(drawn.map((each) => [each.span.span_id, each.depth])).toEqual([["a", 0], ["b", 1], ["c", 2]]);
  expect(drawn[2]).toMatchObject({ from: 0.2, width: 0.4 });
});

test("a span whose caller is not kept begins a tree of its own, and a circle is no trap", () => {
  expect(draw([span("x", "gone", 0, 5), span("y", "x", 1, 2)]).map((each) => each.depth)).toEqual([0, 1]);
  expect(draw([span("x", "x", 0, 5)])).toHaveLength(1);
  expect(draw([])).toEqual([]);
});
