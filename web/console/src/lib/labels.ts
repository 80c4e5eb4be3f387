/** Where the words of an edge stand along it, so that they cover neither nodes nor each other. Pure. */
import { HEIGHT, type Place, WIDTH } from "./layout";

interface Edge {
  id: string;
  source: string;
  destination: string;
}

interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** How large they are at most, and how far above their edge where that goes to the right. */
const WIDE = 116;
const HIGH = 40;
const ABOVE = 6;

/** Parts of the way, the most wanted first. */
const TRIED = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.12, 0.88];

/** How far a curve bends, as the library that draws it has it. */
const bend = (distance: number) => (distance >= 0 ? distance / 2 : 6.25 * Math.sqrt(-distance));

/** The point at a part of the way from one end of a curve to the other. */
export function along(from: Place, to: Place, part: number, down: boolean): Place {
  const rest = 1 - part;
  const weights = [rest ** 3, 3 * rest ** 2 * part, 3 * rest * part ** 2, part ** 3] as const;
  const sum = (a: number, b: number, c: number, d: number) => weights[0] * a + weights[1] * b + weights[2] * c + weights[3] * d;
  const bent = down ? bend(to.y - from.y) : bend(to.x - from.x);
  return down
    ? { x: sum(from.x, from.x, to.x, to.x), y: sum(from.y, from.y + bent, to.y - bent, to.y) }
    : { x: sum(from.x, from.x + bent, to.x - bent, to.x), y: sum(from.y, from.y, to.y, to.y) };
}

const meet = (a: Box, b: Box) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

/** The part of the way at which the words of each edge stand, among nodes at these places. */
export function labels(edges: Edge[], places: Map<string, Place>, nodes: string[], down: boolean): Map<string, number> {
  const taken = nodes.flatMap((id) => {
    const at = places.get(id);
    return at ? [{ left: at.x, top: at.y, right: at.x + WIDTH, bottom: at.y + HEIGHT }] : [];
  });
  const parts = new Map<string, number>();
  for (const { id, source, destination } of edges) {
    const [from, to] = [places.get(source), places.get(destination)];
    if (!from || !to) continue;
    const ends = down
      ? ([{ x: from.x + WIDTH / 2, y: from.y + HEIGHT }, { x: to.x + WIDTH / 2, y: to.y }] as const)
      : ([{ x: from.x + WIDTH, y: from.y + HEIGHT / 2 }, { x: to.x, y: to.y + HEIGHT / 2 }] as const);
    const box = (part: number): Box => {
      const { x, y } = along(...ends, part, down);
      const bottom = down ? y + HIGH / 2 : y - ABOVE;
      return { left: x - WIDE / 2, top: bottom - HIGH, right: x + WIDE / 2, bottom };
    };
    const free = TRIED.find((part) => !taken.some((other) => meet(other, box(part)))) ?? 0.5;
    taken.push(box(free));
    parts.set(id, free);
  }
  return parts;
}
