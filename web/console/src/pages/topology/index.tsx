import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useGet, usePaused } from "../../api/hooks";
import type { Graph, GraphEdge, GraphNode } from "../../api/types";
import { matches } from "../../lib/filter";
import { clock, milliseconds, percent, plural, rate } from "../../lib/format";
import { byNamespace, CROWD, FEW, wholes } from "../../lib/graph";
import { useParam, useScope, useWindow } from "../../lib/params";
import { CopyAs } from "../../ui/copy";
import { Icon } from "../../ui/icons";
import { EmptyFiltered, EmptyFirst, Loading, Partial, View } from "../../ui/states";
import { Mtls, Status } from "../../ui/status";
import { type Column, Table } from "../../ui/table";
import { Errors } from "../services";
import { EdgePanel, NodePanel } from "./panel";

const Picture = lazy(() => import("./picture"));

const NODES: Column<GraphNode>[] = [
  { key: "name", header: "Name", sort: (node) => node.name, cell: (node) => node.name },
  { key: "kind", header: "Kind", sort: (node) => node.kind, cell: (node) => node.kind },
  { key: "namespace", header: "Namespace", sort: (node) => node.namespace, cell: (node) => node.namespace || "–" },
  { key: "health", header: "Health", sort: (node) => node.health, cell: (node) => <Status word={node.health} /> },
  { key: "rps", header: "Requests/s", right: true, sort: (node) => node.requests_per_second, cell: (node) => rate(node.requests_per_second) },
  { key: "errors", header: "Errors", right: true, sort: (node) => node.error_ratio, cell: (node) => <Errors ratio={node.error_ratio} /> },
  { key: "p95", header: "p95", right: true, sort: (node) => node.latency_ms?.p95, cell: (node) => milliseconds(node.latency_ms?.p95) },
  { key: "versions", header: "Versions", cell: (node) => node.versions.map((each) => each.version).filter(Boolean).join(", ") || "–" },
];

const EDGES: Column<GraphEdge>[] = [
  { key: "source", header: "From", sort: (edge) => edge.source, cell: (edge) => edge.source },
  { key: "destination", header: "To", sort: (edge) => edge.destination, cell: (edge) => edge.destination },
  { key: "protocol", header: "Protocol", sort: (edge) => edge.protocol, cell: (edge) => edge.protocol },
  { key: "rps", header: "Requests/s", right: true, sort: (edge) => edge.requests_per_second, cell: (edge) => rate(edge.requests_per_second) },
  { key: "errors", header: "Errors", right: true, sort: (edge) => edge.error_ratio, cell: (edge) => <Errors ratio={edge.error_ratio} /> },
  { key: "p50", header: "p50", right: true, sort: (edge) => edge.latency_ms?.p50, cell: (edge) => milliseconds(edge.latency_ms?.p50) },
  { key: "p95", header: "p95", right: true, sort: (edge) => edge.latency_ms?.p95, cell: (edge) => milliseconds(edge.latency_ms?.p95) },
  { key: "mtls", header: "mTLS", sort: (edge) => edge.mtls_ratio, cell: (edge) => <Mtls ratio={edge.mtls_ratio} /> },
  { key: "codes", header: "Answers", cell: (edge) => Object.entries(edge.codes).filter(([, value]) => value > 0).map(([code, value]) => `${code}: ${rate(value)}/s`).join("  ") || "–" },
];

function fields(node: GraphNode): Record<string, string> {
  return { name: node.name, ns: node.namespace, kind: node.kind, health: node.health, platform: node.platforms.join(" "), version: node.versions.map((each) => each.version).join(" ") };
}

function Legend() {
  return (
    <details className="panel absolute bottom-3 left-3 text-xs">
      <summary className="px-3 py-1.5 font-medium">Legend</summary>
      <ul className="grid gap-1.5 px-3 pb-3">
        <li className="flex items-center gap-2"><span className="w-8 border-t-2 border-edge" /> healthy: width and speed follow the traffic</li>
        <li className="flex items-center gap-2 text-warn"><span className="w-8 border-t-2 border-warn" /><Icon name="warn" size={12} /> 1 % errors or more</li>
        <li className="flex items-center gap-2 text-bad"><span className="w-8 border-t-2 border-bad" /><Icon name="bad" size={12} /> 5 % errors or more</li>
        <li className="flex items-center gap-2 text-bad"><span className="w-8 border-t-2 border-dashed border-bad" /><Icon name="bad" size={12} /> denied by policy</li>
        <li className="flex items-center gap-2"><Icon name="lock" size={12} /> mutual TLS <Icon name="partial" size={12} /> partly <Icon name="unlock" size={12} /> plain text</li>
      </ul>
    </details>
  );
}

/** Looks back: the graph as it was up to an hour ago. */
function Replay({ at, set }: { at: string; set: (at: string) => void }) {
  const moment = at ? Number(at) : null;
  const minutes = moment ? Math.max(-60, Math.round((moment - Date.now()) / 60_000)) : 0;
  return (
    <label className="flex items-center gap-2 text-soft">
      <Icon name="clock" />
      <input
        type="range"
        min={-60}
        max={0}
        value={minutes}
        aria-label="Replay: minutes ago"
        aria-valuetext={minutes === 0 ? "now" : `${-minutes} minutes ago`}
        className="w-28 accent-[var(--accent)]"
        onChange={(event) => {
          const back = Number(event.target.value);
          set(back === 0 ? "" : String(Math.round((Date.now() + back * 60_000) / 10_000) * 10_000));
        }}
      />
      <span className="w-20 tabular-nums">{moment ? clock(moment).slice(11) : "now"}</span>
    </label>
  );
}

export default function TopologyPage() {
  const [scope] = useScope();
  const [, , window] = useWindow();
  const [view, setView] = useParam("view", "graph");
  const [chosen, setChosen] = useParam("at");
  const [filter, setFilter] = useParam("find");
  const [group, setGroup] = useParam("group", "auto");
  const [motion, setMotion] = useParam("motion", "on");
  const [moment, setMoment] = useParam("moment");
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const paused = usePaused();
  const opener = useRef("");
  // A small graph costs little to read, and what fails is to be seen within seconds.
  const size = useRef(0);
  const apart = group === "version" || (group === "auto" && size.current <= FEW);
  const query = { window: `${window}s`, namespace: scope, at: moment, ...(apart ? { by: "version" } : {}) };
  const read = useGet<Graph>("/graph", query, moment ? 600_000 : size.current > CROWD ? 5_000 : 2_500);
  size.current = read.data ? wholes(read.data).length : 0;
  const grouped = group === "namespace" || (group === "auto" && size.current > CROWD);
  const graph = useMemo(() => (read.data && grouped ? byNamespace(read.data, open) : read.data), [read.data, grouped, open]);
  const found = useCallback((node: GraphNode) => !filter || matches(filter, fields(node)), [filter]);
  const choose = useCallback(
    (id: string) => {
      if (id.startsWith("namespace:")) {
        setOpen((before) => new Set([...before, id.slice("namespace:".length)]));
        return;
      }
      if (id) opener.current = id;
      setChosen(id);
    },
    [setChosen],
  );
  useEffect(() => {
    const close = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || !chosen || document.querySelector("dialog[open]")) return;
      setChosen("");
      const id = CSS.escape(opener.current);
      document.querySelector<HTMLElement>(`[data-node="${id}"], [data-edge="${id}"]`)?.focus();
    };
    document.addEventListener("keydown", close);
    return () => document.removeEventListener("keydown", close);
  }, [chosen, setChosen]);

  return (
    <div className="flex h-full flex-col max-sm:h-auto">
      <div className="flex flex-wrap items-center gap-2 border-b border-line bg-panel px-4 py-2 sm:px-6">
        <h1 className="mr-2 text-xl leading-8 font-semibold">Topology</h1>
        <input data-filter="" className="field w-84 max-w-full max-sm:w-full" aria-label="Find in the graph" placeholder="Find: name, ns:, health:, version:" value={filter} onChange={(event) => setFilter(event.target.value)} />
        <select className="field" aria-label="Group" value={group} onChange={(event) => { setGroup(event.target.value); setOpen(new Set()); }}>
          <option value="auto">As detailed as fits</option>
          <option value="version">Each version</option>
          <option value="none">Each service</option>
          <option value="namespace">Each namespace</option>
        </select>
        <Replay at={moment} set={setMoment} />
        <div className="ml-auto flex flex-wrap items-center gap-2 max-sm:ml-0">
          {open.size > 0 && grouped && (
            <button type="button" className="button" onClick={() => setOpen(new Set())}>Close namespaces</button>
          )}
          <button type="button" className="button" aria-pressed={motion === "off"} title="Stop or start the motion of the edges" onClick={() => setMotion(motion === "off" ? "on" : "off")}>
            <Icon name={motion === "off" ? "play" : "pause"} size={14} /> Motion
          </button>
          <div className="flex" role="group" aria-label="Shown as">
            <button type="button" className={`button rounded-r-none ${view === "graph" ? "bg-accent-soft text-accent" : ""}`} aria-pressed={view === "graph"} onClick={() => setView("graph")}>
              <Icon name="topology" size={14} /> Graph
            </button>
            <button type="button" className={`button -ml-px rounded-l-none ${view === "table" ? "bg-accent-soft text-accent" : ""}`} aria-pressed={view === "table"} onClick={() => setView("table")}>
              <Icon name="table" size={14} /> Table
            </button>
          </div>
          <CopyAs cli={`weft graph --window ${window}s${apart ? " --by version" : ""}`} path="/graph" options={{ query }} />
        </div>
      </div>
      {graph ? (
        <Seen {...{ graph, view, chosen, choose, found, filter, setFilter, still: motion === "off" || paused, stale: read.isError, since: read.dataUpdatedAt }} />
      ) : (
        <div className="p-6"><View of={read}>{() => null}</View></div>
      )}
    </div>
  );
}

interface SeenProps {
  graph: Graph;
  view: string;
  chosen: string;
  choose: (id: string) => void;
  found: (node: GraphNode) => boolean;
  filter: string;
  setFilter: (filter: string) => void;
  still: boolean;
  stale: boolean;
  since: number;
}

function Seen({ graph, view, chosen, choose, found, filter, setFilter, still, stale, since }: SeenProps) {
  const node = graph.nodes.find((each) => each.id === chosen);
  // A link may leave the protocol out.
  const edge = graph.edges.find((each) => each.id === chosen) ?? graph.edges.find((each) => each.id.startsWith(`${chosen}>`));
  const some = graph.nodes.some(found);
  const missing = graph.reporting.known - graph.reporting.fresh;
  if (graph.nodes.length === 0) {
    return (
      <EmptyFirst icon="topology" title="No traffic yet" command="curl http://127.0.0.1:8080/productpage">
        <p>The graph is made of what proxies report. It appears some seconds after the first request.</p>
      </EmptyFirst>
    );
  }
  const panel = node ? <NodePanel node={node} graph={graph} choose={choose} /> : edge ? <EdgePanel edge={edge} graph={graph} choose={choose} /> : null;
  const shown = graph.nodes.filter(found);
  const ids = new Set(shown.map((each) => each.id));
  const edges = graph.edges.filter((each) => !filter || ids.has(each.source) || ids.has(each.destination));
  return (
    <div className="flex min-h-0 flex-1 gap-3 p-3 max-md:flex-col max-md:overflow-auto max-sm:overflow-visible">
      <div className="flex min-w-0 flex-1 flex-col max-md:flex-none">
        {stale && <p className="mb-2 rounded-md bg-warn-soft px-3 py-2 text-warn" role="status">Not up to date: read at {clock(since).slice(11)}. Trying again by itself.</p>}
        {missing > 0 && <Partial answered={graph.reporting.fresh} total={graph.reporting.known} missing={graph.reporting.stale} />}
        {!some ? (
          <div className="panel"><EmptyFiltered what="services" clear={() => setFilter("")} /></div>
        ) : view === "table" ? (
          <div className="grid min-h-0 content-start gap-3 overflow-auto">
            <div className="panel"><h2 className="panel-title">{plural(shown.length, "node")}</h2><Table label="Nodes" rows={shown} columns={NODES} id={(each) => each.id} onOpen={(each) => choose(each.id)} selected={chosen} order="name" param="nodes" /></div>
            <div className="panel"><h2 className="panel-title">{plural(edges.length, "edge")}</h2><Table label="Edges" rows={edges} columns={EDGES} id={(each) => each.id} onOpen={(each) => choose(each.id)} selected={chosen} order="source" param="edges" /></div>
          </div>
        ) : (
          <div className="panel relative min-h-0 flex-1 overflow-hidden max-md:h-[70vh] max-md:flex-none">
            <Suspense fallback={<Loading />}>
              <Picture graph={graph} chosen={chosen} choose={choose} found={found} still={still} />
            </Suspense>
            <Legend />
            <p className="absolute top-3 left-3 text-xs text-soft tabular-nums" data-graph-at={graph.at}>
              {plural(wholes(graph).length, "node")}, {plural(graph.edges.length, "edge")} · {percent(totalErrors(graph))} errors · {clock(graph.at).slice(11)}
            </p>
          </div>
        )}
      </div>
      {panel}
    </div>
  );
}

function totalErrors(graph: Graph): number | null {
  const rps = graph.edges.reduce((all, edge) => all + (edge.requests_per_second ?? 0), 0);
  const errors = graph.edges.reduce((all, edge) => all + (edge.requests_per_second ?? 0) * (edge.error_ratio ?? 0), 0);
  return rps > 0 ? errors / rps : null;
}
