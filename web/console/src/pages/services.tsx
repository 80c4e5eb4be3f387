import { useGraph } from "../api/graph";
import { useGet } from "../api/hooks";
import type { Count, List, Service } from "../api/types";
import { matches } from "../lib/filter";
import { milliseconds, percent, plural, rate } from "../lib/format";
import { type Figures, figures, nodeId } from "../lib/graph";
import { useKept, useParam, useScope } from "../lib/params";
import { CopyAs } from "../ui/copy";
import { Icon } from "../ui/icons";
import { Filter, Page } from "../ui/page";
import { EmptyFiltered, EmptyFirst, Partial, View } from "../ui/states";
import { Badge, errorTone, Mtls, Status } from "../ui/status";
import { type Column, Table } from "../ui/table";

export const servicePath = (service: { namespace: string; name: string }) => `/services/${encodeURIComponent(service.namespace)}/${encodeURIComponent(service.name)}`;

export interface Row {
  service: Service;
  seen?: Figures;
}

/** Endpoints and traffic both have a word in how a service is. */
export function healthOf({ service, seen }: Row): string {
  const worst = ["failing", "degraded"].find((word) => service.health === word || seen?.node.health === word);
  return worst ?? (service.health === "unknown" ? "unknown" : (seen?.node.health ?? service.health));
}

const COLUMNS: Column<Row>[] = [
  { key: "name", header: "Service", sort: ({ service }) => service.name, cell: ({ service }) => service.name },
  { key: "namespace", header: "Namespace", sort: ({ service }) => service.namespace, cell: ({ service }) => service.namespace },
  { key: "health", header: "Health", sort: healthOf, cell: (row) => <Status word={healthOf(row)} /> },
  { key: "rps", header: "Requests/s", right: true, sort: ({ seen }) => seen?.node.requests_per_second, cell: ({ seen }) => rate(seen?.node.requests_per_second) },
  { key: "errors", header: "Errors", right: true, sort: ({ seen }) => seen?.node.error_ratio, cell: ({ seen }) => <Errors ratio={seen?.node.error_ratio} /> },
  { key: "p95", header: "p95", right: true, sort: ({ seen }) => seen?.node.latency_ms?.p95, cell: ({ seen }) => milliseconds(seen?.node.latency_ms?.p95) },
  { key: "mtls", header: "mTLS", sort: ({ seen }) => seen?.mtls, cell: ({ seen }) => <Mtls ratio={seen?.mtls} /> },
  { key: "endpoints", header: "Endpoints", right: true, sort: ({ service }) => service.endpoints.total, cell: ({ service }) => <Ready count={service.endpoints} /> },
  { key: "versions", header: "Versions", cell: ({ service }) => service.versions?.join(", ") || "–" },
  { key: "platforms", header: "From", cell: ({ service }) => service.registries.join(", ") },
];

export function Errors({ ratio }: { ratio: number | null | undefined }) {
  const tone = errorTone(ratio);
  if (tone !== "bad" && tone !== "warn") return percent(ratio);
  return <Badge tone={tone}>{percent(ratio)}</Badge>;
}

export function Ready({ count }: { count: Count }) {
  if (count.healthy < count.total) return <Badge tone={count.healthy === 0 ? "bad" : "warn"}>{`${count.healthy} of ${count.total}`}</Badge>;
  return count.total;
}

export function ServicesPage() {
  const [scope, setScope] = useScope();
  const [filter, setFilter] = useParam("filter");
  const kept = useKept();
  const services = useGet<List<Service>>("/services", { limit: 1000, namespace: scope });
  const graph = useGraph();
  return (
    <Page
      title="Services"
      about="Everything that can be called by name, wherever its endpoints run."
      actions={<CopyAs cli={`weft services${scope ? ` -n ${scope}` : ""}`} path="/services" options={{ query: { namespace: scope } }} />}
    >
      <View of={services}>
        {({ items, total }) => {
          if (items.length === 0 && !scope) {
            return (
              <div className="panel">
                <EmptyFirst icon="services" title="No service yet" command="weft run --service hello --port 9080 --forward-to 127.0.0.1:9081 -- ./hello">
                  <p>A service appears when a program joins the mesh, or when a registry tells of one.</p>
                </EmptyFirst>
              </div>
            );
          }
          const seen = figures(graph.data);
          const rows = items.map((service) => ({ service, seen: seen.get(nodeId(service)) }));
          const found = rows.filter((row) =>
            matches(filter, { name: row.service.name, namespace: row.service.namespace, host: row.service.host, health: healthOf(row), from: row.service.registries.join(" ") }),
          );
          return (
            <>
            <Partial answered={graph.isError ? 1 : 2} total={2} missing={["the figures of the traffic"]} />
            <div className="panel overflow-hidden">
              <Filter value={filter} set={setFilter} label="Filter services">
                <span className="text-soft">{plural(found.length, "service")}</span>
                {total !== undefined && total > items.length && (
                  <Badge tone="warn" icon="partial">
                    the first {items.length} of {total}
                  </Badge>
                )}
                {items.some((service) => service.stale) && (
                  <span className="flex items-center gap-1 text-warn">
                    <Icon name="clock" /> some are told by a registry that is out of reach
                  </span>
                )}
              </Filter>
              {found.length === 0 ? (
                <EmptyFiltered what="services" clear={() => { setFilter(""); if (!filter) setScope(""); }} />
              ) : (
                <Table label="Services" rows={found} columns={COLUMNS} id={({ service }) => `${service.namespace}/${service.host}`} href={({ service }) => kept(servicePath(service))} order="name" />
              )}
            </div>
            </>
          );
        }}
      </View>
    </Page>
  );
}
