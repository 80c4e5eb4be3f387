import { Background, ReactFlow, ReactFlowProvider, useReactFlow, ViewportPortal } from "@xyflow/react";
import "@xyflow/react/dist/base.css";
import { type KeyboardEvent, type MouseEvent, useEffect, useMemo, useRef } from "react";
import type { Graph, GraphEdge, GraphNode } from "../../api/types";
import { edgeTone } from "../../lib/graph";
import { labels } from "../../lib/labels";
import { type Direction, frame, HEIGHT, neighbour, type Place, place, WIDTH } from "../../lib/layout";
import { PHONE, useMedia } from "../../lib/media";
import { useTheme } from "../../lib/theme";
import { Icon } from "../../ui/icons";
import { type EdgeData, FrameNode, type NodeData, ServiceNode, TrafficEdge } from "./parts";

const NODES = { service: ServiceNode, frame: FrameNode };
const EDGES = { traffic: TrafficEdge };
const MANY = 80;
/** From so many edges on those that nothing is the matter with are one drawing, and no elements of their own. */
const CROWD = 600;
/** Up to so many nodes the text of all can be read at once, or what stands around the chosen. */
const FEW = 24;
const READABLE = 0.85;
const ARROWS: Record<string, Direction> = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };

interface Props {
  graph: Graph;
  chosen: string;
  choose: (id: string) => void;
  found: (node: GraphNode) => boolean;
  still: boolean;
}

export default function Picture(props: Props) {
  return (
    <ReactFlowProvider>
      <Flow {...props} />
    </ReactFlowProvider>
  );
}

function Flow({ graph, chosen, choose, found, still }: Props) {
  const theme = useTheme();
  const down = useMedia(PHONE);
  const flow = useReactFlow<NodeData, EdgeData>();
  const box = useRef<HTMLDivElement>(null);
  // Places change only with what is there, so that figures move and nodes do not.
  const shape = `${graph.nodes.map((node) => node.id).sort().join("|")}#${graph.edges.map((edge) => edge.id).sort().join("|")}`;
  const places = useMemo(() => place(graph.nodes, graph.edges, down), [shape, down]);
  const words = useMemo(() => {
    if (graph.edges.length > MANY) return new Map<string, number>();
    const wholes = new Set(graph.nodes.map((node) => node.part_of));
    return labels(graph.edges, places, graph.nodes.map((node) => node.id).filter((id) => !wholes.has(id)), down);
  }, [places]);
  const upstreams = useMemo(() => {
    const counts = new Map<string, number>();
    for (const edge of graph.edges) counts.set(edge.source, (counts.get(edge.source) ?? 0) + 1);
    return counts;
  }, [graph]);
  const nodes = useMemo<NodeData[]>(() => {
    const parts = new Map<string, Place[]>();
    for (const { id, part_of: whole } of graph.nodes) {
      const at = places.get(id);
      if (whole && at) parts.set(whole, [...(parts.get(whole) ?? []), at]);
    }
    return graph.nodes.map((node) => {
      const within = parts.get(node.id);
      return {
        id: node.id,
        type: within ? "frame" : "service",
        position: places.get(node.id) ?? { x: 0, y: 0 },
        ...(within ? frame(within) : { width: WIDTH, height: HEIGHT }),
        zIndex: within ? -1 : 0,
        data: { node, chosen: node.id === chosen, dim: !found(node), upstreams: upstreams.get(node.id) ?? 0, down },
      };
    });
  }, [graph, places, chosen, found, upstreams, down]);
  const edges = useMemo<EdgeData[]>(() => {
    // Where there are many, only what was chosen has words, only that and what is wrong stands out, and nothing moves.
    const crowded = graph.edges.length > MANY;
    const dim = new Map(graph.nodes.map((node) => [node.id, !found(node)]));
    const picked = graph.nodes.some((node) => node.id === chosen);
    const aside = (edge: GraphEdge) => picked && edge.source !== chosen && edge.destination !== chosen;
    return graph.edges.map((edge) => ({
      id: edge.id,
      source: edge.source,
      target: edge.destination,
      type: "traffic",
      data: { edge, chosen: edge.id === chosen, dim: Boolean(dim.get(edge.source) && dim.get(edge.destination)) || (crowded && aside(edge)), still: still || crowded, bare: crowded && edge.id !== chosen && !["bad", "denied"].includes(edgeTone(edge)), mute: crowded && edge.id !== chosen, down, words: words.get(edge.id) ?? 0.5 },
    }));
  }, [graph, chosen, found, still, down, words]);

  const calm = useMemo(() => (edges.length > CROWD ? edges.filter(({ data, source, target }) => data?.bare && source !== chosen && target !== chosen) : []), [edges, chosen]);
  const own = useMemo(() => {
    const drawn = new Set(calm.map(({ id }) => id));
    return drawn.size > 0 ? edges.filter(({ id }) => !drawn.has(id)) : edges;
  }, [edges, calm]);

  const fit = async (all = false) => {
    const least = !all && chosen && graph.nodes.length <= FEW ? READABLE : 0.1;
    await flow.fitView({ padding: 0.06, maxZoom: 1.15, minZoom: least });
    const at = places.get(chosen.split(">")[0] ?? "");
    if (at && flow.getZoom() <= least) void flow.setCenter(at.x + WIDTH, at.y + HEIGHT / 2, { zoom: least });
  };
  const fitting = useRef(fit);
  fitting.current = fit;
  useEffect(() => {
    const timer = setTimeout(() => void fitting.current(), 50);
    return () => clearTimeout(timer);
  }, [shape, down]);

  useEffect(() => {
    const watched = box.current;
    if (!watched) return undefined;
    const watch = new ResizeObserver(() => void fitting.current());
    watch.observe(watched);
    return () => watch.disconnect();
  }, []);

  const press = (event: KeyboardEvent<HTMLDivElement>) => {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const at = (event.target as HTMLElement).dataset.node;
    const to = ARROWS[event.key];
    if (at && to) {
      event.preventDefault();
      const next = neighbour(at, to, places, graph.edges);
      if (next) box.current?.querySelector<HTMLElement>(`[data-node="${CSS.escape(next)}"]`)?.focus();
    } else if (event.key === "f") void fit(true);
    else if (event.key === "+") void flow.zoomIn();
    else if (event.key === "-") void flow.zoomOut();
    else return;
    event.stopPropagation();
  };
  const click = (event: MouseEvent<HTMLDivElement>) => {
    const button = (event.target as HTMLElement).closest<HTMLElement>("[data-node], [data-edge]");
    const id = button?.dataset.node ?? button?.dataset.edge;
    if (id) choose(id === chosen ? "" : id);
  };
  return (
    <div ref={box} className="relative h-full" onKeyDown={press} onClick={click}>
      <ReactFlow
        nodes={nodes}
        edges={own}
        nodeTypes={NODES}
        edgeTypes={EDGES}
        colorMode={theme}
        nodesDraggable={false}
        nodesConnectable={false}
        nodesFocusable={false}
        edgesFocusable={false}
        elementsSelectable={false}
        disableKeyboardA11y
        minZoom={0.1}
        maxZoom={2}
        onlyRenderVisibleElements={graph.nodes.length > 120}
        onInit={() => void fitting.current()}
        onEdgeClick={(event, edge) => {
          event.stopPropagation();
          choose(edge.id === chosen ? "" : edge.id);
        }}
        attributionPosition="bottom-center"
      >
        {calm.length > 0 && <Calm edges={calm} places={places} />}
        <Background gap={24} size={1} color="var(--line)" />
      </ReactFlow>
      <div className="panel absolute right-3 bottom-3 flex p-0.5" role="group" aria-label="View">
        <button type="button" className="button quiet small" aria-label="Zoom in" title="Zoom in (+)" onClick={() => void flow.zoomIn()}>
          <Icon name="plus" size={14} />
        </button>
        <button type="button" className="button quiet small" aria-label="Zoom out" title="Zoom out (-)" onClick={() => void flow.zoomOut()}>
          <Icon name="minus" size={14} />
        </button>
        <button type="button" className="button quiet small" aria-label="Show all" title="Show all (f)" onClick={() => void fit(true)}>
          <Icon name="fit" size={14} />
        </button>
      </div>
    </div>
  );
}

/** Thousands of edges as one line behind all nodes, which the library would draw over them: from the right of each caller to the left of whom it calls. */
function Calm({ edges, places }: { edges: EdgeData[]; places: Map<string, Place> }) {
  const drawn = edges.map(({ source, target }) => {
    const [from, to] = [places.get(source), places.get(target)];
    if (!from || !to) return "";
    const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2].map(Math.round) as [number, number, number, number];
    const bend = Math.max(30, Math.round(Math.abs(x2 - x1) / 2));
    return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
  });
  return (
    <ViewportPortal>
      <svg data-calm="" className="pointer-events-none absolute top-0 left-0 overflow-visible" style={{ zIndex: -1 }} width="1" height="1" aria-hidden="true">
        <path d={drawn.join("")} fill="none" stroke="var(--edge)" strokeWidth="1" opacity="0.25" />
      </svg>
    </ViewportPortal>
  );
}
