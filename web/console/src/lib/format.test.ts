import { expect, test } from "vitest";
import { ago, bytes, milliseconds, percent, plural, rate, span, until } from "./format";

test("what is not known is a dash, and nought is nought", () => {
  for (const format of [rate, percent, milliseconds, bytes]) {
    expect(format(null)).toBe("–");
    expect(format(undefined)).toBe("–");
    expect(format(Number.NaN)).toBe("–");
  }
  expect(rate(0)).toBe("0");
  expect(percent(0)).toBe("0 %");
  expect(milliseconds(0)).toBe("0 ms");
});

test("small shares are never rounded to none, nor great ones to all", () => {
  expect(percent(0.0004)).toBe("<0.1 %");
  expect(percent(0.9995)).toBe(">99.9 %");
  expect(percent(0.012)).toBe("1.2 %");
  expect(percent(0.5)).toBe("50 %");
  expect(rate(0.004)).toBe("<0.01");
});

test("figures have as many digits as they deserve", () => {
  expect([rate(2.5), rate(12.34), rate(1234), rate(45_678)]).toEqual(["2.5", "12.3", "1,234", "45.7k"]);
  expect([milliseconds(0.42), milliseconds(8.44), milliseconds(120.4), milliseconds(1234)]).toEqual(["0.42 ms", "8.4 ms", "120 ms", "1.23 s"]);
  expect([bytes(900), bytes(2048), bytes(5 << 20)]).toEqual(["900 B", "2.0 KiB", "5.0 MiB"]);
});

test("times are told from now, in seconds or milliseconds alike", () => {
  const now = 1_800_000_000_000;
  expect(ago(now - 30_000, now)).toBe("30 s ago");
  expect(ago((now - 7_200_000) / 1000, now)).toBe("2 h ago");
  expect(until(now + 600_000, now)).toBe("in 10 min");
  expect(until(now - 1, now)).toBe("over");
  expect(span(200_000)).toBe("2 d");
});

test("one is not many", () => {
  expect(plural(1, "proxy", "proxies")).toBe("1 proxy");
  expect(plural(0, "proxy", "proxies")).toBe("0 proxies");
});
