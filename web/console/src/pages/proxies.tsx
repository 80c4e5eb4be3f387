import { useGet } from "../api/hooks";
import type { List, Proxy } from "../api/types";
import { matches } from "../lib/filter";
import { ago, bytes, plural, until } from "../lib/format";
import { useKept, useParam, useScope } from "../lib/params";
import { CopyAs } from "../ui/copy";
import { Filter, Page } from "../ui/page";
import { EmptyFiltered, EmptyFirst, View } from "../ui/states";
import { Badge, type Tone } from "../ui/status";
import { type Column, Table } from "../ui/table";

const TYPES = ["CDS", "EDS", "LDS", "RDS"];

export function syncOf(proxy: Proxy): "synced" | "stale" | "nack" {
  if (proxy.sync) return proxy.sync;
  const states = Object.values(proxy.types).map((type) => type.state);
  if (states.some((state) => state.startsWith("NACK"))) return "nack";
  return states.some((state) => state === "STALE") ? "stale" : "synced";
}

export const SYNC: Record<string, { tone: Tone; word: string }> = {
  synced: { tone: "ok", word: "synced" },
  stale: { tone: "warn", word: "on its way" },
  nack: { tone: "bad", word: "refused" },
};

export function Sync({ proxy }: { proxy: Proxy }) {
  const found = SYNC[syncOf(proxy)];
  return <Badge tone={found?.tone}>{found?.word}</Badge>;
}

function OfType({ state, resources }: { state: string; resources: number }) {
  const tone: Tone = state === "SYNCED" ? "ok" : state === "STALE" ? "warn" : state.startsWith("NACK") ? "bad" : "plain";
  return (
    <Badge tone={tone} title={state}>
      {state === "NOT SENT" ? "not sent" : resources}
      <span className="sr-only">{state.toLowerCase()}</span>
    </Badge>
  );
}

const COLUMNS: Column<Proxy>[] = [
  { key: "id", header: "Proxy", sort: (row) => row.id, cell: (row) => row.id },
  { key: "kind", header: "Kind", sort: (row) => row.kind, cell: (row) => (row.kind === "router" ? "gateway" : row.kind) },
  { key: "sync", header: "Configuration", sort: syncOf, cell: (row) => <Sync proxy={row} /> },
  ...TYPES.map(
    (type): Column<Proxy> => ({
      key: type,
      header: type,
      cell: (row) => {
        const found = row.types[type];
        return found ? <OfType {...found} /> : "–";
      },
    }),
  ),
  { key: "version", header: "Version", sort: (row) => row.version, cell: (row) => row.version },
  { key: "size", header: "Size", right: true, sort: (row) => row.config_bytes, cell: (row) => bytes(row.config_bytes) },
  { key: "certificate", header: "Certificate ends", right: true, sort: (row) => row.certificate?.not_after, cell: (row) => (row.certificate && row.certificate.state !== "valid" ? <Badge tone="bad">{until(row.certificate.not_after)}</Badge> : until(row.certificate?.not_after)) },
  { key: "since", header: "Since", sort: (row) => row.connected_at, cell: (row) => ago(row.connected_at), right: true },
];

export function ProxiesPage() {
  const [scope, setScope] = useScope();
  const [filter, setFilter] = useParam("filter");
  const kept = useKept();
  const proxies = useGet<List<Proxy>>("/proxies", { limit: 1000, namespace: scope });
  return (
    <Page
      title="Proxies"
      about="The sidecars and gateways that are connected, and how far each is with its configuration."
      actions={<CopyAs cli="weft proxy-status" path="/proxies" options={{ query: { namespace: scope } }} />}
    >
      <View of={proxies}>
        {({ items }) => {
          if (items.length === 0 && !scope) {
            return (
              <div className="panel">
                <EmptyFirst icon="proxies" title="No proxy is connected" command="weft run --service hello --port 9080 --forward-to 127.0.0.1:9081 -- ./hello">
                  <p>A proxy connects when a workload joins. Waiting for the first one…</p>
                </EmptyFirst>
              </div>
            );
          }
          const found = items.filter((row) => matches(filter, { id: row.id, kind: row.kind, sync: SYNC[syncOf(row)]?.word ?? "", version: row.version, namespace: row.namespace }));
          return (
            <div className="panel overflow-hidden">
              <Filter value={filter} set={setFilter} label="Filter proxies">
                <span className="text-soft">{plural(found.length, "proxy", "proxies")}</span>
              </Filter>
              {found.length === 0 ? (
                <EmptyFiltered what="proxies" clear={() => { setFilter(""); if (!filter) setScope(""); }} />
              ) : (
                <Table label="Proxies" rows={found} columns={COLUMNS} id={(row) => row.node} href={(row) => kept(`/proxies/${encodeURIComponent(row.id)}`)} order="id" />
              )}
            </div>
          );
        }}
      </View>
    </Page>
  );
}
