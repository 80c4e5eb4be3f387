/** What views make of the service graph. Pure. */
import type { Graph, GraphEdge, GraphNode } from "../api/types";

export interface Figures {
  node: GraphNode;
  /** Requests to it by callers of the mesh, and how much of them is mutually authenticated. */
  mtls: number | null;
}

export function figures(graph: Graph | undefined): Map<string, Figures> {
  const found = new Map<string, Figures>();
  if (!graph) return found;
  const incoming = new Map<string, GraphEdge[]>();
  for (const edge of graph.edges) add(incoming, edge.destination, edge);
  for (const node of graph.nodes) found.set(node.id, { node, mtls: weighted(incoming.get(node.id) ?? [], (edge) => edge.mtls_ratio) });
  return found;
}

/** The mean of a ratio over edges, each with the weight of its traffic; null where nothing is known. */
export function weighted(edges: GraphEdge[], ratio: (edge: GraphEdge) => number | null): number | null {
  let sum = 0;
  let weight = 0;
  for (const edge of edges) {
    const value = ratio(edge);
    const traffic = (edge.requests_per_second ?? 0) + (edge.connections_per_second ?? 0);
    if (value === null || traffic <= 0) continue;
    sum += value * traffic;
    weight += traffic;
  }
  return weight > 0 ? sum / weight : null;
}

/** Where a node or an edge between services is seen in the graph, whatever it would be drawn apart into. */
export const seenAt = (id: string) => `/topology?group=none&at=${encodeURIComponent(id)}`;

export const nodeId = (service: { namespace: string; name: string }) => `${service.namespace}/${service.name}`;

/** The worst nodes by a figure, greatest first. */
export function top(nodes: GraphNode[], of: (node: GraphNode) => number | null | undefined, count = 5): GraphNode[] {
  return nodes
    .filter((node) => (of(node) ?? 0) > 0)
    .sort((a, b) => (of(b) ?? 0) - (of(a) ?? 0))
    .slice(0, count);
}

/** More nodes than this are shown by namespace. */
export const CROWD = 300;

/** Up to so many services the versions of each are told apart. */
export const FEW = 60;

/** The services and all others of a graph, without the versions of a service that stand for themselves. */
export const wholes = (graph: Graph) => graph.nodes.filter((node) => !node.part_of);

/** The service of a node's id, which may be that of a version. */
export const serviceOf = (id: string) => id.replace(/@.*$/, "");

const sum = (values: (number | null | undefined)[]): number | null => {
  const known = values.filter((value): value is number => value !== null && value !== undefined);
  return known.length > 0 ? known.reduce((all, value) => all + value, 0) : null;
};

const mean = <T>(items: T[], value: (item: T) => number | null | undefined, weight: (item: T) => number | null | undefined): number | null => {
  let all = 0;
  let weights = 0;
  for (const item of items) {
    const found = value(item);
    const by = weight(item) ?? 0;
    if (found === null || found === undefined || by <= 0) continue;
    all += found * by;
    weights += by;
  }
  return weights > 0 ? all / weights : null;
};

const greatest = (values: (number | null | undefined)[]): number | null => {
  const known = values.filter((value): value is number => value !== null && value !== undefined);
  return known.length > 0 ? Math.max(...known) : null;
};

const HEALTH: GraphNode["health"][] = ["failing", "degraded", "healthy", "idle", "unknown"];

function add<T>(groups: Map<string, T[]>, id: string, item: T) {
  const known = groups.get(id);
  if (known) known.push(item);
  else groups.set(id, [item]);
}

/** A namespace in place of its services; those in `open` stay apart. Latencies of a whole are the worst of its parts. */
export function byNamespace(graph: Graph, open: ReadonlySet<string>): Graph {
  const group = (node: GraphNode | undefined) => (node && node.namespace && !open.has(node.namespace) ? `namespace:${node.namespace}` : (node?.id ?? "unknown"));
  const groups = new Map<string, GraphNode[]>();
  const home = new Map<string, string>();
  for (const node of graph.nodes) {
    const id = group(node);
    home.set(node.id, id);
    add(groups, id, node);
  }
  // Versions are told beside the service that they are parts of.
  const nodes = [...groups].map(([id, members]) => merge(id, id.startsWith("namespace:") ? members.filter((node) => !node.part_of) : members));
  const edges = new Map<string, GraphEdge[]>();
  for (const edge of graph.edges) {
    const [source, destination] = [home.get(edge.source) ?? edge.source, home.get(edge.destination) ?? edge.destination];
    if (source === destination && source.startsWith("namespace:")) continue;
    const id = `${source}>${destination}>${edge.protocol}`;
    add(edges, id, { ...edge, id, source, destination });
  }
  return { ...graph, nodes, edges: [...edges.values()].map(join) };
}

function merge(id: string, members: GraphNode[]): GraphNode {
  const [first] = members;
  if (members.length === 1 && first && first.id === id) return first;
  const requests = (node: GraphNode) => node.requests_per_second;
  return {
    id,
    kind: "service",
    namespace: first?.namespace ?? "",
    name: first?.namespace ?? id,
    platforms: [...new Set(members.flatMap((node) => node.platforms))],
    versions: [],
    endpoints: { ready: sum(members.map((node) => node.endpoints?.ready)) ?? 0, total: sum(members.map((node) => node.endpoints?.total)) ?? 0 },
    requests_per_second: sum(members.map(requests)),
    error_ratio: mean(members, (node) => node.error_ratio, requests),
    latency_ms: { p50: greatest(members.map((node) => node.latency_ms?.p50)), p95: greatest(members.map((node) => node.latency_ms?.p95)), p99: greatest(members.map((node) => node.latency_ms?.p99)) },
    health: HEALTH.find((health) => members.some((node) => node.health === health)) ?? "unknown",
    members: members.length,
  };
}

function join(edges: GraphEdge[]): GraphEdge {
  const first = edges[0] as GraphEdge;
  if (edges.length === 1) return first;
  const codes: Record<string, number> = {};
  for (const edge of edges) for (const [code, rate] of Object.entries(edge.codes)) codes[code] = (codes[code] ?? 0) + rate;
  const requests = (edge: GraphEdge) => edge.requests_per_second;
  return {
    ...first,
    requests_per_second: sum(edges.map(requests)),
    error_ratio: mean(edges, (edge) => edge.error_ratio, requests),
    latency_ms: { p50: greatest(edges.map((edge) => edge.latency_ms?.p50)), p95: greatest(edges.map((edge) => edge.latency_ms?.p95)), p99: greatest(edges.map((edge) => edge.latency_ms?.p99)) },
    bytes_per_second: { sent: sum(edges.map((edge) => edge.bytes_per_second?.sent)), received: sum(edges.map((edge) => edge.bytes_per_second?.received)) },
    connections_per_second: sum(edges.map((edge) => edge.connections_per_second)),
    mtls_ratio: weighted(edges, (edge) => edge.mtls_ratio),
    denied_per_second: sum(edges.map((edge) => edge.denied_per_second)),
    codes,
    versions: [],
    principals: null,
  };
}

export type Tone = "bad" | "warn" | "ok" | "idle" | "denied";

/** Of what was asked for: how much was denied. */
export function deniedShare(edge: GraphEdge): number | null {
  const denied = edge.denied_per_second ?? 0;
  return denied > 0 ? Math.min(1, denied / Math.max(denied, (edge.requests_per_second ?? 0) + (edge.connections_per_second ?? 0))) : null;
}

/** How an edge stands. What is more of it counts: what fails, or what is denied. */
export function edgeTone(edge: GraphEdge): Tone {
  const denied = deniedShare(edge) ?? 0;
  if (denied >= 0.05 && denied >= (edge.error_ratio ?? 0)) return "denied";
  const traffic = (edge.requests_per_second ?? 0) + (edge.connections_per_second ?? 0) + (edge.denied_per_second ?? 0);
  if (traffic <= 0) return "idle";
  const errors = edge.error_ratio ?? 0;
  if (errors >= 0.05) return "bad";
  return errors >= 0.01 ? "warn" : "ok";
}
