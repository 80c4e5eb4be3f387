/** The spans of a trace as a tree, in the order in which they are drawn. Pure. */

export interface Span {
  span_id: string;
  parent_id: string | null;
  service: string;
  proxy: string;
  name: string;
  kind: string;
  start_us: number;
  duration_us: number;
  status: string;
  attributes: Record<string, string>;
}

export interface Drawn {
  span: Span;
  depth: number;
  /** Both as shares of the whole trace. */
  from: number;
  width: number;
}

/** Callers before those they call; a span whose caller is not there is a root. */
export function draw(spans: Span[]): Drawn[] {
  if (spans.length === 0) return [];
  const start = Math.min(...spans.map((span) => span.start_us));
  const end = Math.max(...spans.map((span) => span.start_us + span.duration_us));
  const whole = Math.max(1, end - start);
  const known = new Set(spans.map((span) => span.span_id));
  const below = new Map<string, Span[]>();
  for (const span of [...spans].sort((a, b) => a.start_us - b.start_us)) {
    const parent = span.parent_id && known.has(span.parent_id) && span.parent_id !== span.span_id ? span.parent_id : "";
    below.set(parent, [...(below.get(parent) ?? []), span]);
  }
  const drawn: Drawn[] = [];
  const seen = new Set<string>();
  const walk = (parent: string, depth: number) => {
    for (const span of below.get(parent) ?? []) {
      if (seen.has(span.span_id)) continue;
      seen.add(span.span_id);
      drawn.push({ span, depth, from: (span.start_us - start) / whole, width: span.duration_us / whole });
      walk(span.span_id, depth + 1);
    }
  };
  walk("", 0);
  return drawn;
}
