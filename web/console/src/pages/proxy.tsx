import { Link, useParams } from "wouter";
import { get } from "../api/client";
import { useGet } from "../api/hooks";
import type { Proxy } from "../api/types";
import { ago, bytes, clock, until } from "../lib/format";
import { useKept } from "../lib/params";
import { CopyAs } from "../ui/copy";
import { Download } from "../ui/download";
import { Facts, Page, Panel, Tabs } from "../ui/page";
import { Resources } from "../ui/resources";
import { asProblem, EmptyFirst, View } from "../ui/states";
import { Badge, Long, toneOf } from "../ui/status";
import { type Column, Table } from "../ui/table";
import { configPath } from "./config";
import { LogLevel } from "./log-level";
import { Sync } from "./proxies";
import { Stats } from "./stats";
import { Tap } from "./tap";
import { Why } from "./why";

interface Layout {
  kind: string;
  addresses: string[];
  labels: Record<string, string>;
  capture: string;
  inbounds: { service: string; port: number; protocol: string; target: string; mtls: string }[];
  outbounds: { host: string; port: number; subset: string; cluster: string; endpoints: number | null }[];
  listeners: string[];
}

interface Dump {
  size_bytes: number;
  resources: Record<string, { name: string; version: string; resource: unknown }[]>;
}

interface Policy {
  kind: string;
  namespace: string;
  name: string;
  shown_in: string[];
}

interface Happened {
  at: number;
  what: string;
  type?: string | null;
  detail?: string | null;
}

const kindOf = (kind: string) => (kind === "router" ? "gateway" : kind);

function Overview({ proxy, path }: { proxy: Proxy; path: string }) {
  const { certificate } = proxy;
  const layout = useGet<Layout>(`${path}/_layout`);
  return (
    <div className="grid gap-4 lg:grid-cols-2">
      <Panel title="What it is">
        <Facts
          rows={[
            ["Identity", <code className="mono">{proxy.identity ?? "–"}</code>],
            ["Node", <code className="mono">{proxy.node}</code>],
            ["Kind", kindOf(proxy.kind)],
            ["Workload", `${proxy.namespace}/${proxy.workload}`],
            ["Version", proxy.version],
            ["Address", proxy.address ?? (layout.data?.addresses.join(", ") || "–")],
            ["Log level", <LogLevel of={path} proxy={proxy.id} />],
            ["Since", `${clock(proxy.connected_at)} (${ago(proxy.connected_at)})`],
            ...(certificate ? ([["Certificate", <span className="flex flex-wrap items-center gap-2"><Badge tone={certificate.state === "valid" ? "ok" : "bad"} icon="lock">{certificate.state}</Badge><span className="min-w-0 break-all">{`ends ${until(certificate.not_after)}, by ${certificate.attested_by}`}</span></span>]] as [string, React.ReactNode][]) : []),
            ...(proxy.config_bytes !== undefined ? ([["Configuration", bytes(proxy.config_bytes)]] as [string, string][]) : []),
          ]}
        />
      </Panel>
      <Panel title="Configuration by type" flush>
        <Table
          label="Configuration by type"
          rows={Object.entries(proxy.types)}
          id={([name]) => name}
          param="types"
          columns={[
            { key: "type", header: "Type", cell: ([name]) => name },
            { key: "state", header: "State", cell: ([, type]) => <Badge tone={type.state === "SYNCED" ? "ok" : type.state === "STALE" ? "warn" : type.state === "NOT SENT" ? "plain" : "bad"}>{type.state.toLowerCase()}</Badge> },
            { key: "resources", header: "Resources", right: true, cell: ([, type]) => type.resources },
            { key: "error", header: "Why refused", cell: ([, type]) => type.error ?? "–" },
          ]}
        />
      </Panel>
      {proxy.diagnostics.length > 0 && (
        <Panel title="What its configuration lacks" className="lg:col-span-2" flush>
          <Table
            label="Diagnostics"
            rows={proxy.diagnostics}
            id={(found) => `${found.code} ${found.object} ${found.message}`}
            param="found"
            columns={[
              { key: "code", header: "Code", cell: (found) => <code className="mono">{found.code}</code> },
              { key: "object", header: "Object", cell: (found) => found.object },
              { key: "message", header: "Message", cell: (found) => found.message },
            ]}
          />
        </Panel>
      )}
    </div>
  );
}

function LayoutOf({ path }: { path: string }) {
  const layout = useGet<Layout>(`${path}/_layout`);
  return (
    <View of={layout}>
      {(layout) => (
        <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,2fr)_minmax(0,3fr)]">
          <Panel title={`Takes in (${layout.inbounds.length})`} flush>
            {layout.inbounds.length === 0 ? (
              <p className="p-4 text-soft">It serves nothing of its own.</p>
            ) : (
              <Table
                label="Inbounds"
                rows={layout.inbounds}
                id={(row) => `${row.service} ${row.port}`}
                param="inbounds"
                columns={[
                  { key: "port", header: "Port", right: true, cell: (row) => row.port },
                  { key: "protocol", header: "Protocol", cell: (row) => row.protocol },
                  { key: "mtls", header: "mTLS", cell: (row) => <Badge tone={row.mtls === "strict" ? "ok" : "warn"} icon={row.mtls === "strict" ? "lock" : "unlock"}>{row.mtls}</Badge> },
                  { key: "target", header: "Handed to", cell: (row) => <span className="mono">{row.target}</span> },
                ]}
              />
            )}
          </Panel>
          <Panel title={`Reaches (${layout.outbounds.length})`} flush>
            <Table
              label="Outbounds"
              rows={layout.outbounds}
              id={(row) => row.cluster}
              order="host"
              param="outbounds"
              columns={[
                { key: "host", header: "Host", sort: (row) => row.host, cell: (row) => row.host },
                { key: "port", header: "Port", right: true, sort: (row) => row.port, cell: (row) => row.port },
                { key: "subset", header: "Subset", sort: (row) => row.subset, cell: (row) => row.subset || "all" },
                { key: "endpoints", header: "Endpoints", right: true, sort: (row) => row.endpoints, cell: (row) => (row.endpoints === 0 ? <Badge tone="bad">0</Badge> : (row.endpoints ?? "–")) },
              ]}
            />
          </Panel>
          <Panel title="Listens and captures" className="xl:col-span-2">
            <Facts
              rows={[
                ["Listeners", <span className="mono">{layout.listeners.join(", ")}</span>],
                ["Capture", layout.capture],
                ["Addresses", layout.addresses.join(", ") || "–"],
                ["Labels", Object.entries(layout.labels).map(([name, value]) => `${name}=${value}`).join(", ") || "–"],
              ]}
            />
          </Panel>
        </div>
      )}
    </View>
  );
}

function Config({ path }: { path: string }) {
  const dump = useGet<Dump>(`${path}/_config`, undefined, 60_000);
  return (
    <div className="panel overflow-hidden">
      <View of={dump}>
        {(dump) => (
          <Resources
            items={Object.entries(dump.resources).flatMap(([type, resources]) => resources.map((resource) => ({ type, ...resource })))}
            note={`, ${bytes(dump.size_bytes)} in all; secrets are left out`}
          />
        )}
      </View>
    </div>
  );
}

const POLICIES: Column<Policy>[] = [
  { key: "name", header: "Object", sort: (row) => row.name, cell: (row) => `${row.namespace}/${row.name}` },
  { key: "kind", header: "Kind", sort: (row) => row.kind, cell: (row) => row.kind },
  { key: "shown", header: "Shows in", cell: (row) => <Long>{row.shown_in.join(", ")}</Long> },
];

function Policies({ path }: { path: string }) {
  const policies = useGet<{ items: Policy[] }>(`${path}/_policies`);
  const kept = useKept();
  return (
    <div className="panel overflow-hidden">
      <View of={policies}>
        {({ items }) =>
          items.length === 0 ? (
            <EmptyFirst icon="config" title="No rule concerns it">
              <p>Its configuration is what the mesh makes by itself. <Link href={kept("/config/new")}>Write a rule</Link></p>
            </EmptyFirst>
          ) : (
            <Table label="Policies" rows={items} columns={POLICIES} id={(row) => `${row.kind} ${row.namespace}/${row.name}`} href={(row) => kept(configPath(row))} order="kind" param="policies" />
          )
        }
      </View>
    </div>
  );
}

const EVENTS: Column<Happened>[] = [
  { key: "at", header: "When", className: "whitespace-nowrap", sort: (row) => row.at, cell: (row) => <span title={clock(row.at)}>{ago(row.at)}</span> },
  { key: "what", header: "What", sort: (row) => row.what, cell: (row) => <Badge tone={row.what === "accepted" || row.what === "connected" ? "ok" : toneOf(row.what)}>{row.what}</Badge> },
  { key: "type", header: "Type", sort: (row) => row.type, cell: (row) => row.type ?? "–" },
  { key: "detail", header: "Its words", cell: (row) => row.detail ?? "–" },
];

function Events({ path }: { path: string }) {
  const events = useGet<{ items: Happened[] }>(`${path}/_events`, undefined, 5_000);
  return (
    <div className="panel overflow-hidden">
      <View of={events}>
        {({ items }) => (items.length === 0 ? <EmptyFirst icon="activity" title="Nothing happened yet" /> : <Table label="Events" rows={items.map((item, at) => ({ ...item, at_: at }))} columns={EVENTS} id={(row) => `${row.at} ${(row as { at_?: number }).at_}`} order="-at" param="events" />)}
      </View>
    </div>
  );
}

/** All that the control plane knows of it, for who looks at it elsewhere. What is refused is told in its place. */
async function bundle(path: string) {
  const parts = ["", "/_layout", "/_policies", "/_events", "/_config"];
  const read = await Promise.all(parts.map((part) => get<unknown>(path + part).catch((error: unknown) => asProblem(error))));
  return Object.fromEntries(parts.map((part, at) => [part.slice(2) || "proxy", read[at]]));
}

export default function ProxyPage() {
  const { id = "" } = useParams();
  const path = `/proxies/${encodeURIComponent(id)}`;
  const proxy = useGet<Proxy>(path);
  return (
    <Page title={id} about={proxy.data && <Sync proxy={proxy.data} />} actions={
        <>
          <Download name={`weft-proxy-${id}.json`} label="Save bundle" of={() => bundle(path)} />
          <CopyAs cli="weft proxy-status" path={path} />
        </>
      }>
      <View of={proxy}>
        {(proxy) => (
          <Tabs
            tabs={[
              { key: "overview", title: "Overview", body: () => <Overview proxy={proxy} path={path} /> },
              { key: "layout", title: "Layout", body: () => <LayoutOf path={path} /> },
              { key: "why", title: "Why?", body: () => <Why proxy={proxy.id} /> },
              { key: "policies", title: "Policies", body: () => <Policies path={path} /> },
              { key: "config", title: "Configuration", body: () => <Config path={path} /> },
              { key: "tap", title: "Tap", body: () => <Tap proxy={proxy.id} /> },
              { key: "stats", title: "Stats", body: () => <Stats path={path} /> },
              { key: "events", title: "Events", body: () => <Events path={path} /> },
            ]}
          />
        )}
      </View>
    </Page>
  );
}
