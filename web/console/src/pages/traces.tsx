import { useParams } from "wouter";
import { useGet } from "../api/hooks";
import { matches } from "../lib/filter";
import { ago, clock, milliseconds, plural } from "../lib/format";
import { useKept, useParam } from "../lib/params";
import { draw, type Drawn, type Span } from "../lib/spans";
import { CopyAs } from "../ui/copy";
import { Filter, Page, Panel } from "../ui/page";
import { EmptyFiltered, EmptyFirst, View } from "../ui/states";
import { Badge } from "../ui/status";
import { type Column, Table } from "../ui/table";

interface Summary {
  trace_id: string;
  service: string;
  name: string;
  /** Method and path, where the first span tells them. */
  request?: string | null;
  started_at: number;
  duration_ms: number;
  spans: number;
  error: boolean;
}

const COLUMNS: Column<Summary>[] = [
  { key: "trace", header: "Trace", sort: (row) => row.trace_id, cell: (row) => <span className="mono">{row.trace_id.slice(0, 16)}</span> },
  { key: "name", header: "Request", sort: (row) => row.request ?? row.name, cell: (row) => <span className="break-words">{row.request ?? row.name}</span> },
  { key: "service", header: "Began at", sort: (row) => row.service, cell: (row) => row.service },
  { key: "at", header: "When", right: true, sort: (row) => row.started_at, cell: (row) => <span title={clock(row.started_at)}>{ago(row.started_at)}</span> },
  { key: "duration", header: "Took", right: true, sort: (row) => row.duration_ms, cell: (row) => milliseconds(row.duration_ms) },
  { key: "spans", header: "Spans", right: true, sort: (row) => row.spans, cell: (row) => row.spans },
  { key: "error", header: "Result", sort: (row) => (row.error ? 1 : 0), cell: (row) => <Badge tone={row.error ? "bad" : "ok"}>{row.error ? "error" : "ok"}</Badge> },
];

export default function TracesPage() {
  const [filter, setFilter] = useParam("filter");
  const [errors, setErrors] = useParam("errors");
  const kept = useKept();
  const query = { limit: 1000, errors: errors === "true" ? true : null };
  const traces = useGet<{ items: Summary[] }>("/traces", query, 5_000);
  return (
    <Page title="Traces" about="Requests as they went through the mesh. Those that failed or were slow are kept for longest." actions={<CopyAs path="/traces" options={{ query }} />}>
      <View of={traces}>
        {({ items }) => {
          if (items.length === 0 && !errors) {
            return (
              <div className="panel">
                <EmptyFirst icon="traces" title="No trace yet">
                  <p>Proxies trace a share of the requests; a Telemetry object says how large it is.</p>
                </EmptyFirst>
              </div>
            );
          }
          const found = items.filter((row) => matches(filter, { name: `${row.request ?? ""} ${row.name}`, service: row.service, id: row.trace_id }));
          return (
            <div className="panel overflow-hidden">
              <Filter value={filter} set={setFilter} label="Filter traces">
                <label className="flex items-center gap-2">
                  <input type="checkbox" className="accent-[var(--accent)]" checked={errors === "true"} onChange={(event) => setErrors(event.target.checked ? "true" : "")} />
                  Errors only
                </label>
                <span className="text-soft">{plural(found.length, "trace")}</span>
              </Filter>
              {found.length === 0 ? (
                <EmptyFiltered what="traces" clear={() => { setFilter(""); setErrors(""); }} />
              ) : (
                <Table label="Traces" rows={found} columns={COLUMNS} id={(row) => row.trace_id} href={(row) => kept(`/traces/${row.trace_id}`)} order="-at" />
              )}
            </div>
          );
        }}
      </View>
    </Page>
  );
}

const SPANS: Column<Drawn>[] = [
  {
    key: "span",
    header: "Span",
    cell: ({ span, depth }) => (
      <span style={{ paddingLeft: `${depth * 16}px` }} className="block">
        <span className="font-medium">{span.service.replace(/^default\//, "")}</span> <span className="text-soft">{span.name}</span>
      </span>
    ),
  },
  { key: "kind", header: "Side", cell: ({ span }) => span.kind },
  {
    key: "time",
    header: "Time",
    className: "w-[36%]",
    cell: ({ span, from, width }) => (
      <span className="relative block h-3 min-w-40 rounded bg-raised" aria-hidden="true">
        <span className={`absolute h-3 rounded ${span.status === "error" ? "bg-bad" : "bg-accent"}`} style={{ left: `${from * 100}%`, width: `max(2px, ${width * 100}%)` }} />
      </span>
    ),
  },
  { key: "took", header: "Took", right: true, cell: ({ span }) => milliseconds(span.duration_us / 1000) },
  { key: "status", header: "Result", cell: ({ span }) => { const told = span.attributes["http.status_code"] ?? span.attributes["http.response.status_code"] ?? span.status; return <Badge tone={span.status === "error" ? "bad" : told.startsWith("4") ? "warn" : "ok"}>{told}</Badge>; } },
  { key: "proxy", header: "Proxy", className: "whitespace-nowrap", cell: ({ span }) => <span title={span.proxy}>{span.proxy.split("~")[2] ?? span.proxy}</span> },
];

export function TracePage() {
  const { id = "" } = useParams();
  const trace = useGet<{ trace_id: string; spans: Span[] }>(`/traces/${id}`, undefined, 60_000);
  const [open, setOpen] = useParam("span");
  return (
    <Page title={`Trace ${id.slice(0, 16)}`} actions={<CopyAs path={`/traces/${id}`} />}>
      <View of={trace}>
        {({ spans }) => {
          const drawn = draw(spans);
          const first = drawn[0]?.span;
          const chosen = spans.find((span) => span.span_id === open) ?? first;
          return (
            <div className="grid gap-4">
              <Panel title={first ? `${first.name}, ${clock(first.start_us / 1000)}` : "Spans"} flush>
                <Table label="Spans" rows={drawn} columns={SPANS} id={(row) => row.span.span_id} onOpen={(row) => setOpen(row.span.span_id)} selected={chosen?.span_id} param="spans" />
              </Panel>
              {chosen && (
                <Panel title={`${chosen.service} ${chosen.name}`} flush>
                  <Table
                    label="Attributes"
                    rows={Object.entries(chosen.attributes)}
                    id={([name]) => name}
                    param="attributes"
                    columns={[
                      { key: "name", header: "Attribute", cell: ([name]) => <span className="mono">{name}</span> },
                      { key: "value", header: "Value", cell: ([, value]) => <span className="mono break-all">{value}</span> },
                    ]}
                  />
                </Panel>
              )}
            </div>
          );
        }}
      </View>
    </Page>
  );
}
