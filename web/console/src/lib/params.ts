import { useCallback } from "react";
import { useSearchParams } from "wouter";

/** A part of the page's state that lives in its address. The default leaves the address alone. */
export function useParam(name: string, fallback = ""): [string, (value: string) => void] {
  const [params, setParams] = useSearchParams();
  const value = params.get(name) ?? fallback;
  const set = useCallback(
    (next: string) =>
      setParams(
        () => {
          // As the address is now: another part of it may have been set at the same moment.
          const after = new URLSearchParams(window.location.search);
          if (next === fallback) after.delete(name);
          else after.set(name, next);
          return after;
        },
        { replace: true },
      ),
    [name, fallback, setParams],
  );
  return [value, set];
}

/** The namespaces that are looked at: all, or one. */
export const useScope = () => useParam("ns");

export const WINDOWS = ["1m", "5m", "15m", "1h"] as const;

/** How much of the past figures stand for. */
export function useWindow(): [string, (value: string) => void, number] {
  const [value, set] = useParam("window", "1m");
  return [value, set, seconds(value)];
}

export function seconds(window: string): number {
  const found = /^(\d+)([smh])$/.exec(window);
  if (!found) return 60;
  const unit = { s: 1, m: 60, h: 3600 }[found[2] as "s" | "m" | "h"];
  return Number(found[1]) * unit;
}

/** A link within the console that keeps scope and window. */
export function useKept(): (path: string) => string {
  const [params] = useSearchParams();
  const kept = new URLSearchParams();
  for (const name of ["ns", "window"]) {
    const value = params.get(name);
    if (value) kept.set(name, value);
  }
  const text = kept.toString();
  return useCallback((path) => (text ? `${path}${path.includes("?") ? "&" : "?"}${text}` : path), [text]);
}
