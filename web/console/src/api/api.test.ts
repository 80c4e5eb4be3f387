import { expect, test, vi } from "vitest";
import { address, curl, quote } from "./client";
import { parseEvents } from "./hooks";
import { setupToken } from "./session";
import { seconds } from "../lib/params";

test("only what is asked for is in the address", () => {
  expect(address("/services", { namespace: "", limit: 10, q: "a b", all: false, at: null })).toBe("/api/v1/services?limit=10&q=a+b");
});

test("what a shell would take apart is quoted", () => {
  expect(quote("plain/path.txt")).toBe("plain/path.txt");
  expect(quote("it's $HOME")).toBe(`'it'\\''s $HOME'`);
});

test("a call for a shell takes the token that the CLI would take", () => {
  vi.stubGlobal("location", { origin: "http://127.0.0.1:15080" });
  expect(curl("/registries/consul/_pause", { method: "POST" })).toBe('curl -X POST -H "authorization: Bearer $(cat "${WEFT_TOKEN_FILE:-$HOME/.local/state/weft/token}")" http://127.0.0.1:15080/api/v1/registries/consul/_pause');
});

test("events are taken when they are whole, over any cut", () => {
  const { events, rest } = parseEvents("event: graph\nid: 7\ndata: {\"at\":1}\n\n: heartbeat\n\nevent: proxies\r\ndata: a\r\ndata: b\r\n\r\nevent: prob");
  expect(events).toEqual([
    { event: "graph", id: "7", data: '{"at":1}' },
    { event: "proxies", id: "", data: "a\nb" },
  ]);
  expect(rest).toBe("event: prob");
});

test("a setup link carries its word in the fragment or the query", () => {
  expect(setupToken({ hash: "#setup=abc", search: "" })).toBe("abc");
  expect(setupToken({ hash: "", search: "?setup=abc" })).toBe("abc");
  expect(setupToken({ hash: "", search: "?ns=default" })).toBeNull();
});

test("windows are words for seconds", () => {
  expect([seconds("1m"), seconds("15m"), seconds("1h"), seconds("nonsense")]).toEqual([60, 900, 3600, 60]);
});
