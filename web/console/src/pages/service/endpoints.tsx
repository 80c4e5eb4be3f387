import type { Endpoint } from "../../api/types";
import { ago } from "../../lib/format";
import { EmptyFirst } from "../../ui/states";
import { Badge, Mtls, Status } from "../../ui/status";
import { type Column, Table } from "../../ui/table";

const COLUMNS: Column<Endpoint>[] = [
  { key: "address", header: "Address", sort: (row) => row.address, cell: (row) => <span className="mono">{`${row.address}:${row.port}`}</span> },
  { key: "workload", header: "Workload", sort: (row) => row.workload, cell: (row) => row.workload || "–" },
  { key: "version", header: "Version", sort: (row) => row.version, cell: (row) => row.version ?? "–" },
  { key: "health", header: "Health", sort: (row) => row.health, cell: (row) => <span className="flex items-center gap-2"><Status word={row.health} /><span className="text-soft">{row.health_source}</span></span> },
  { key: "heard", header: "Heard of", right: true, sort: (row) => row.last_heartbeat, cell: (row) => (row.last_heartbeat ? ago(row.last_heartbeat) : "–") },
  { key: "mtls", header: "mTLS", sort: (row) => row.mtls, cell: (row) => <Mtls ratio={row.mtls ? 1 : 0} /> },
  { key: "weight", header: "Weight", right: true, sort: (row) => row.weight, cell: (row) => row.weight },
  { key: "platform", header: "Platform", sort: (row) => row.platform, cell: (row) => row.platform },
  { key: "locality", header: "Locality", sort: (row) => row.locality, cell: (row) => row.locality.replace(/\/+$/, "") || "–" },
  {
    key: "registry",
    header: "Told by",
    sort: (row) => row.registry,
    cell: (row) => (
      <span className="flex items-center gap-2" title={row.object}>
        {row.registry}
        {row.stale && <Badge tone="warn">stale</Badge>}
      </span>
    ),
  },
];

/** Where a service runs, on whatever platform, and who says so. */
export function Endpoints({ items }: { items: Endpoint[] }) {
  if (items.length === 0) {
    return (
      <EmptyFirst icon="services" title="No endpoints">
        <p>No workload serves this at the moment; callers are answered with 503.</p>
      </EmptyFirst>
    );
  }
  return <Table label="Endpoints" rows={items} columns={COLUMNS} id={(row) => `${row.registry} ${row.address}:${row.port} ${row.service_port}`} order="address" param="order" />;
}
