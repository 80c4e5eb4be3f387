import { lazy, Suspense, useMemo } from "react";
import { useLocation, useParams } from "wouter";
import { useGraph } from "../../api/graph";
import { useGet } from "../../api/hooks";
import type { Endpoint, Graph, GraphEdge, List, Service, Trouble } from "../../api/types";
import { milliseconds, percent, rate } from "../../lib/format";
import { figures, nodeId, seenAt } from "../../lib/graph";
import { useKept } from "../../lib/params";
import { CopyAs } from "../../ui/copy";
import { Facts, Figure, Page, Panel, Tabs } from "../../ui/page";
import { Loading, View } from "../../ui/states";
import { Badge, Mtls, Status } from "../../ui/status";
import { Table } from "../../ui/table";
import { concerns, Reasons } from "../home/problems";
import { Errors, healthOf } from "../services";
import { Endpoints } from "./endpoints";
import { IdentityOf } from "./identity";
import { MetricsOf } from "./metrics";
import { ConfigOf } from "./objects";
import { PoliciesOf } from "./policies";
import { RoutingOf } from "./routing";

function Calls({ title, none, edges, other }: { title: string; none: string; edges: GraphEdge[]; other: (edge: GraphEdge) => string }) {
  const kept = useKept();
  return (
    <Panel title={title} flush>
      {edges.length === 0 ? (
        <p className="p-4 text-soft">{none}</p>
      ) : (
        <Table
          label={title}
          rows={edges}
          id={(edge) => edge.id}
          href={(edge) => kept(seenAt(edge.id))}
          order="-rps"
          param={title}
          columns={[
            { key: "other", header: "Who", sort: other, cell: other },
            { key: "rps", header: "Requests/s", right: true, sort: (edge) => edge.requests_per_second, cell: (edge) => rate(edge.requests_per_second) },
            { key: "errors", header: "Errors", right: true, sort: (edge) => edge.error_ratio, cell: (edge) => <Errors ratio={edge.error_ratio} /> },
            { key: "p95", header: "p95", right: true, sort: (edge) => edge.latency_ms?.p95, cell: (edge) => milliseconds(edge.latency_ms?.p95) },
            { key: "mtls", header: "mTLS", cell: (edge) => <Mtls ratio={edge.mtls_ratio} /> },
          ]}
        />
      )}
    </Panel>
  );
}

/** The service among those that call it and those that it calls. */
function Around({ graph, id }: { graph: Graph; id: string }) {
  const kept = useKept();
  const [, go] = useLocation();
  const near = useMemo(() => {
    const edges = graph.edges.filter((edge) => edge.source === id || edge.destination === id);
    const ids = new Set([id, ...edges.flatMap((edge) => [edge.source, edge.destination])]);
    return { ...graph, edges, nodes: graph.nodes.filter((node) => ids.has(node.id)) };
  }, [graph, id]);
  if (near.edges.length === 0 || near.nodes.length > 24) return null;
  return (
    <div className="panel h-64 overflow-hidden lg:col-span-2">
      <Suspense fallback={<Loading />}>
        <Picture graph={near} chosen="" choose={(at) => go(kept(seenAt(at)))} found={everything} still />
      </Suspense>
    </div>
  );
}

const everything = () => true;

function Overview({ service, graph }: { service: Service; graph: Graph | undefined }) {
  const id = nodeId(service);
  return (
    <div className="grid gap-4 lg:grid-cols-2">
      {graph && <Around graph={graph} id={id} />}
      <Panel title="What it is">
        <Facts
          rows={[
            ["Host", <code className="mono">{service.host}</code>],
            ["Also called", service.aliases.length > 0 ? service.aliases.join(", ") : "–"],
            ["Where", service.location === "internal" ? "in the mesh" : "outside of the mesh"],
            ["Resolved", service.resolution],
            ["Addresses", [...service.addresses, ...service.automatic_addresses.map((address) => `${address} (given by the mesh)`)].join(", ") || "–"],
            ["Told by", service.registries.join(", ")],
          ]}
        />
      </Panel>
      <Panel title="Ports" flush>
        <Table
          label="Ports"
          rows={service.ports}
          id={(port) => port.name}
          param="ports"
          columns={[
            { key: "name", header: "Name", cell: (port) => port.name },
            { key: "port", header: "Port", right: true, cell: (port) => port.port },
            { key: "protocol", header: "Protocol", cell: (port) => port.protocol },
          ]}
        />
      </Panel>
      {graph && (
        <>
          <Calls title="Called by" none="Nobody called it in this time." edges={graph.edges.filter((edge) => edge.destination === id)} other={(edge) => edge.source} />
          <Calls title="Calls" none="It called nobody in this time." edges={graph.edges.filter((edge) => edge.source === id)} other={(edge) => edge.destination} />
        </>
      )}
      {service.conflicts.length > 0 && (
        <Panel title="Registries disagree" className="lg:col-span-2">
          <ul className="list-disc pl-4">
            {service.conflicts.map((words) => (
              <li key={words}>{words}</li>
            ))}
          </ul>
        </Panel>
      )}
    </div>
  );
}

function Strip({ service, graph }: { service: Service; graph: Graph | undefined }) {
  const seen = figures(graph).get(nodeId(service));
  const errors = seen?.node.error_ratio;
  return (
    <div className="mb-4 grid grid-cols-2 gap-3 md:grid-cols-3 xl:grid-cols-5">
      <Figure name="Requests/s" value={rate(seen?.node.requests_per_second)} />
      <Figure name="Errors" value={percent(errors)} note={errors !== null && errors !== undefined && errors >= 0.05 ? <Badge tone="bad">high</Badge> : undefined} />
      <Figure name="Latency p95" value={milliseconds(seen?.node.latency_ms?.p95)} note={`p50 ${milliseconds(seen?.node.latency_ms?.p50)}`} />
      <Figure name="Mutual TLS" value={percent(seen?.mtls)} />
      <Figure name="Endpoints ready" value={service.endpoints.healthy} note={`of ${service.endpoints.total}`} />
    </div>
  );
}

const Picture = lazy(() => import("../topology/picture"));
const Traffic = lazy(() => import("./traffic").then((module) => ({ default: module.Traffic })));

export default function ServicePage() {
  const { namespace = "", name = "" } = useParams();
  const path = `/services/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  const service = useGet<Service>(path);
  const endpoints = useGet<List<Endpoint>>(`${path}/_endpoints`, { limit: 1000 });
  const graph = useGraph();
  const problems = useGet<List<Trouble>>("/problems", { limit: 1000 });
  const wrong = (service.data && problems.data?.items.filter((trouble) => concerns(trouble, service.data))) ?? [];
  const seen = service.data ? figures(graph.data).get(nodeId(service.data)) : undefined;
  return (
    <Page
      title={name}
      about={
        service.data && (
          <span className="flex items-center gap-2">
            <Status word={healthOf({ service: service.data, seen })} />
            <span>in namespace {namespace}</span>
          </span>
        )
      }
      actions={<CopyAs cli={`weft endpoints ${name}`} path={path} />}
    >
      <View of={service}>
        {(service) => (
          <>
            <Strip service={service} graph={graph.data} />
            {wrong.length > 0 && <Reasons items={wrong} />}
            <Tabs
              tabs={[
                { key: "overview", title: "Overview", body: () => <Overview service={service} graph={graph.data} /> },
                { key: "traffic", title: "Traffic", body: () => <Suspense fallback={<Loading />}><Traffic service={service} /></Suspense> },
                { key: "routing", title: "Routing", body: () => <RoutingOf service={service} path={path} graph={graph.data} /> },
                {
                  key: "endpoints",
                  title: "Endpoints",
                  count: service.endpoints.total,
                  body: () => <div className="panel overflow-hidden"><View of={endpoints}>{({ items }) => <Endpoints items={items} />}</View></div>,
                },
                { key: "policies", title: "Policies", body: () => <PoliciesOf service={service} path={path} /> },
                { key: "identity", title: "Identity", body: () => <View of={endpoints}>{({ items }) => <IdentityOf endpoints={items} />}</View> },
                { key: "figures", title: "Metrics", body: () => <MetricsOf service={service} graph={graph.data} /> },
                { key: "config", title: "Configuration", body: () => <ConfigOf path={path} /> },
              ]}
            />
          </>
        )}
      </View>
    </Page>
  );
}
