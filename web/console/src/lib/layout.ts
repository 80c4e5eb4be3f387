/** Where the nodes of the graph stand: from callers on the left to the called on the right, or downwards. Pure. */
import { Graph as Dagre, layout } from "@dagrejs/dagre";

export const WIDTH = 196;
export const HEIGHT = 76;

/** So many edges for each node that has one are no order any more. */
const DENSE = 5;
/** Nodes times the edges beyond those of a tree: with more, an order takes the browser many seconds to find. */
const TANGLED = 100_000;

export interface Place {
  x: number;
  y: number;
}

interface Ends {
  source: string;
  destination: string;
}

/** Where everybody calls everybody there is no left and right, or none that is found in time: then they stand in rows, by name. */
function rows(nodes: string[]): Map<string, Place> {
  const columns = Math.max(1, Math.ceil(Math.sqrt(nodes.length * 0.75)));
  const at = (index: number): Place => ({ x: (index % columns) * (WIDTH + 72), y: Math.floor(index / columns) * (HEIGHT + 56) });
  return new Map([...nodes].sort((a, b) => a.localeCompare(b, "en", { numeric: true })).map((id, index) => [id, at(index)]));
}

/** A node and the one that it is a part of. */
export interface Member {
  id: string;
  part_of?: string | null;
}

/** What stands around the parts of a whole: its name above them, and a margin. */
export const HEAD = 34;
const MARGIN = 12;

/** How large the frame around its parts is, and where it begins. */
export function frame(parts: Place[]): Place & { width: number; height: number } {
  const [xs, ys] = [parts.map(({ x }) => x), parts.map(({ y }) => y)];
  const [x, y] = [Math.min(...xs) - MARGIN, Math.min(...ys) - HEAD];
  return { x, y, width: Math.max(...xs) + WIDTH + MARGIN - x, height: Math.max(...ys) + HEIGHT + MARGIN - y };
}

/** The same nodes and edges stand at the same places, in whatever order they are told. What has parts frames them. */
export function place(members: Member[], edges: Ends[], down = false): Map<string, Place> {
  const parts = new Map<string, string[]>();
  for (const { id, part_of: whole } of members) if (whole) parts.set(whole, [...(parts.get(whole) ?? []), id].sort((a, b) => a.localeCompare(b, "en", { numeric: true })));
  const single = members.map(({ id }) => id).filter((id) => !parts.has(id));
  // An edge of the whole is laid out as one of its first part.
  const end = (id: string) => parts.get(id)?.[0] ?? id;
  const places = spread(single, edges.map(({ source, destination }) => ({ source: end(source), destination: end(destination) })), parts, down);
  for (const [whole, ids] of parts) {
    // They stand in the order of their names, whichever way there are fewer crossings.
    const theirs = ids.flatMap((id) => places.get(id) ?? []).sort((a, b) => a.x - b.x || a.y - b.y);
    for (const [index, at] of theirs.entries()) places.set(ids[index] as string, at);
    const { x, y } = frame(theirs);
    places.set(whole, { x, y });
  }
  return places;
}

function spread(nodes: string[], edges: Ends[], parts: Map<string, string[]>, down: boolean): Map<string, Place> {
  const graph = new Dagre({ multigraph: false, compound: true });
  graph.setGraph({ rankdir: down ? "TB" : "LR", nodesep: 32, ranksep: down ? 80 : 144, marginx: 24, marginy: 24 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const id of [...nodes].sort()) graph.setNode(id, { width: WIDTH, height: HEIGHT });
  for (const [whole, ids] of [...parts].sort()) {
    graph.setNode(whole, {});
    for (const id of ids) graph.setParent(id, whole);
  }
  const known = new Set(nodes);
  const ends = edges
    .filter((edge) => edge.source !== edge.destination && known.has(edge.source) && known.has(edge.destination))
    .map((edge) => [edge.source, edge.destination] as const)
    .sort((a, b) => a.join().localeCompare(b.join()));
  const tied = new Set(ends.flat()).size;
  if (ends.length > tied * DENSE || tied * (ends.length - tied) > TANGLED) return rows(nodes);
  for (const [source, destination] of ends) graph.setEdge(source, destination);
  layout(graph);
  const places = new Map<string, Place>();
  for (const id of nodes) {
    const found = graph.node(id) as Place | undefined;
    if (found) places.set(id, { x: found.x - WIDTH / 2, y: found.y - HEIGHT / 2 });
  }
  return places;
}

export type Direction = "left" | "right" | "up" | "down";

/** Where an arrow leads: left and right along the edges, up and down to what stands next in that direction. */
export function neighbour(from: string, to: Direction, places: Map<string, Place>, edges: Ends[]): string | null {
  const here = places.get(from);
  if (!here) return null;
  const distance = (id: string) => {
    const there = places.get(id);
    return there ? Math.hypot((there.x - here.x) / 3, there.y - here.y) : Number.POSITIVE_INFINITY;
  };
  const nearest = (ids: string[]) => ids.sort((a, b) => distance(a) - distance(b))[0] ?? null;
  if (to === "right") return nearest(edges.filter((edge) => edge.source === from && edge.destination !== from).map((edge) => edge.destination));
  if (to === "left") return nearest(edges.filter((edge) => edge.destination === from && edge.source !== from).map((edge) => edge.source));
  const beyond = [...places].filter(([id, { y }]) => id !== from && (to === "up" ? y < here.y - 1 : y > here.y + 1));
  return nearest(beyond.map(([id]) => id));
}
