/** A filter's words: each must occur; `-word` must not; `name:word` looks at one field. */
export function matches(filter: string, fields: Record<string, string>): boolean {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const all = Object.values(fields).join("\u0000").toLowerCase();
  return words.every((word) => {
    const negated = word.startsWith("-") && word.length > 1;
    const bare = negated ? word.slice(1) : word;
    const colon = bare.indexOf(":");
    const named = colon > 0 ? fields[bare.slice(0, colon)] : undefined;
    const found = named === undefined ? all.includes(bare) : named.toLowerCase().includes(bare.slice(colon + 1));
    return found !== negated;
  });
}

/** How well a thing is meant by what is looked for: by its name first, by other words for it last; 0 where it is not. */
export function rank(search: string, [name = "", ...words]: string[]): number {
  const [wanted, called] = [search.trim().toLowerCase(), name.toLowerCase()];
  if (called === wanted) return 1;
  const one = (part: string) => {
    if (called.startsWith(part)) return 0.8;
    if (called.split(/[^a-z0-9]+/).some((each) => each.startsWith(part))) return 0.6;
    if (called.includes(part)) return 0.4;
    return words.some((each) => each.toLowerCase().startsWith(part)) ? 0.2 : 0;
  };
  return Math.min(...wanted.split(/\s+/).map(one));
}

export function compare(a: unknown, b: unknown): number {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}
