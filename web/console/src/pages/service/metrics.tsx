import type { Graph, GraphEdge, Service } from "../../api/types";
import { milliseconds, rate } from "../../lib/format";
import { nodeId } from "../../lib/graph";
import { Facts, Panel } from "../../ui/page";
import { Codes, Versions } from "../topology/panel";
import { Trends } from "../trends";

function codes(edges: GraphEdge[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const edge of edges) for (const [code, value] of Object.entries(edge.codes)) all[code] = (all[code] ?? 0) + value;
  return all;
}

export function MetricsOf({ service, graph }: { service: Service; graph: Graph | undefined }) {
  const id = nodeId(service);
  const node = graph?.nodes.find((each) => each.id === id);
  const answers = codes(graph?.edges.filter((edge) => edge.destination === id) ?? []);
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,2fr)_minmax(280px,1fr)]">
      <Panel title="How it went">
        <Trends query={{ service: id }} height={180} />
      </Panel>
      <Panel title="Now">
        {node ? (
          <div className="grid gap-4">
            <Facts
              rows={[
                ["Requests", `${rate(node.requests_per_second)}/s`],
                ["p50", milliseconds(node.latency_ms?.p50)],
                ["p95", milliseconds(node.latency_ms?.p95)],
                ["p99", milliseconds(node.latency_ms?.p99)],
              ]}
            />
            <Codes codes={answers} />
            <Versions versions={node.versions} />
          </div>
        ) : (
          <p className="text-soft">Nobody called it in this time.</p>
        )}
      </Panel>
    </div>
  );
}
