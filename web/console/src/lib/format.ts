/** Figures as people read them. Nothing known is a dash, never a nought. */

export const DASH = "–";

type Figure = number | null | undefined;

const known = (value: Figure): value is number => value !== null && value !== undefined && Number.isFinite(value);

export function rate(value: Figure): string {
  if (!known(value)) return DASH;
  if (value === 0) return "0";
  if (value < 0.01) return "<0.01";
  if (value < 10) return value.toFixed(2).replace(/\.?0+$/, "");
  if (value < 100) return value.toFixed(1).replace(/\.0$/, "");
  if (value < 10_000) return Math.round(value).toLocaleString("en");
  return `${(value / 1000).toFixed(1)}k`;
}

export function percent(ratio: Figure): string {
  if (!known(ratio)) return DASH;
  const value = ratio * 100;
  if (value === 0) return "0 %";
  if (value > 99.9 && value < 100) return ">99.9 %";
  if (value < 0.1) return "<0.1 %";
  return `${value < 10 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} %`;
}

export function milliseconds(value: Figure): string {
  if (!known(value)) return DASH;
  if (value === 0) return "0 ms";
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 1000) return `${Math.round(value)} ms`;
  return `${(value / 1000).toFixed(value < 10_000 ? 2 : 1).replace(/\.?0+$/, "")} s`;
}

export function bytes(value: Figure): string {
  if (!known(value)) return DASH;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let rest = value;
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(rest) : rest.toFixed(1)} ${units[unit]}`;
}

/** How long a span of seconds is: `45 s`, `12 min`, `3 h`, `5 d`. */
export function span(seconds: Figure): string {
  if (!known(seconds)) return DASH;
  const value = Math.abs(seconds);
  if (value < 1) return "now";
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 90 * 60) return `${Math.round(value / 60)} min`;
  if (value < 48 * 3600) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86_400)} d`;
}

/** Times come in milliseconds; older answers say seconds. */
export function asMilliseconds(at: number): number {
  return at < 100_000_000_000 ? at * 1000 : at;
}

export function ago(at: Figure, now: number = Date.now()): string {
  if (!known(at)) return DASH;
  const seconds = (now - asMilliseconds(at)) / 1000;
  if (seconds < 1) return "now";
  return `${span(seconds)} ago`;
}

export function until(at: Figure, now: number = Date.now()): string {
  if (!known(at)) return DASH;
  const seconds = (asMilliseconds(at) - now) / 1000;
  return seconds <= 0 ? "over" : `in ${span(seconds)}`;
}

export function clock(at: Figure): string {
  if (!known(at)) return DASH;
  const date = new Date(asMilliseconds(at));
  const two = (part: number) => String(part).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
