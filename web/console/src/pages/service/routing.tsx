import { Link } from "wouter";
import { useGet } from "../../api/hooks";
import type { Count, Graph, Service } from "../../api/types";
import { percent } from "../../lib/format";
import { nodeId } from "../../lib/graph";
import { useKept } from "../../lib/params";
import { means } from "../../lib/rules";
import { type Step, steps, type Target } from "../../lib/routing";
import { Icon } from "../../ui/icons";
import { Panel } from "../../ui/page";
import { View } from "../../ui/states";
import { Badge } from "../../ui/status";
import { Table } from "../../ui/table";
import { configPath } from "../config";
import { Ready, servicePath } from "../services";

interface Rules {
  namespace: string;
  name: string;
  hosts: string[];
  gateways: string[];
  hidden: boolean;
  rules: Record<string, unknown>;
}

interface Subset {
  name: string;
  labels: Record<string, string>;
  declared_by: string;
  endpoints: Count;
}

interface Routing {
  host: string;
  claimed_by: Rules[];
  led_to_by: Rules[];
  subsets: Subset[];
}

const objectOf = (rules: Rules) => configPath({ kind: "VirtualService", namespace: rules.namespace, name: rules.name });

function To({ target, subsets, own }: { target: Target; subsets: Subset[]; own: (host: string) => boolean }) {
  const subset = subsets.find((each) => each.name === target.subset);
  const missing = Boolean(target.subset) && !subset && own(target.host);
  return (
    <li className="grid grid-cols-[56px_minmax(0,1fr)_max-content] items-center gap-3">
      <span className="font-medium tabular-nums">{percent(target.share)}</span>
      <span className="min-w-0">
        <span className="block break-words">{`${target.host}${target.port ? `:${target.port}` : ""}${target.subset ? ` · ${target.subset}` : ""}`}</span>
        <span className="mt-0.5 block h-1.5 overflow-hidden rounded bg-raised" aria-hidden="true">
          <span className={`block h-full rounded ${missing ? "bg-bad" : "bg-accent"}`} style={{ width: `${target.share * 100}%` }} />
        </span>
      </span>
      {missing && <Badge tone="bad">no such subset: answered with 503</Badge>}
      {subset && <span className="text-soft">{subset.endpoints.healthy < subset.endpoints.total ? <Ready count={subset.endpoints} /> : `${subset.endpoints.total} ready`}</span>}
    </li>
  );
}

const iconOf = (what: string) => (what.startsWith("fault") ? "warn" : what.startsWith("timeout") ? "clock" : "right");

/** One rule, left to right: which requests, what is done to them, where they go. */
function Rule({ step, last, subsets, own }: { step: Step; last: boolean; subsets: Subset[]; own: (host: string) => boolean }) {
  return (
    <li className="grid items-center gap-x-4 gap-y-2 border-b border-line px-4 py-3 last:border-b-0 lg:grid-cols-[minmax(0,2fr)_16px_minmax(0,3fr)]">
      <div className="grid gap-1">
        {step.name && <span className="text-xs text-soft">{step.name}</span>}
        {step.when.length === 0 ? (
          <span className="font-medium">{last ? "All other requests" : "All requests"}</span>
        ) : (
          step.when.map((parts, at) => (
            <span key={at} className="break-words">
              {at > 0 && <span className="text-soft">or </span>}
              {parts.join(" and ") || "any"}
            </span>
          ))
        )}
        {step.does.length > 0 && (
          <span className="flex flex-wrap gap-1">
            {step.does.map((what) => (
              <Badge key={what} tone={what.startsWith("fault") ? "warn" : "info"} icon={iconOf(what)}>{what}</Badge>
            ))}
          </span>
        )}
      </div>
      <span className="text-soft max-lg:hidden"><Icon name="right" /></span>
      {step.targets.length > 0 ? (
        <ul className="grid gap-2" aria-label="Where they go">{step.targets.map((target, at) => <To key={at} target={target} subsets={subsets} own={own} />)}</ul>
      ) : (
        <span className="text-soft">to no service</span>
      )}
    </li>
  );
}

function Claim({ claim, subsets, service }: { claim: Rules; subsets: Subset[]; service: Service }) {
  const kept = useKept();
  const chain = steps(claim.rules);
  const own = (host: string) => means(host, claim.namespace, { ...service, versions: [] });
  return (
    <Panel
      flush
      title={<Link href={kept(objectOf(claim))}>{`VirtualService ${claim.namespace}/${claim.name}`}</Link>}
      actions={!claim.hidden && <span className="text-xs text-soft">{`for ${claim.hosts.join(", ")} · at ${claim.gateways.join(", ")}`}</span>}
    >
      {claim.hidden ? (
        <p className="p-4 text-soft">Your role does not show what it says.</p>
      ) : chain.length === 0 ? (
        <p className="p-4 text-soft">It has no rules.</p>
      ) : (
        <ol>{chain.map((step, at) => <Rule key={at} step={step} last={at > 0} subsets={subsets} own={own} />)}</ol>
      )}
    </Panel>
  );
}

function Subsets({ subsets, seen }: { subsets: Subset[]; seen: Map<string, number> }) {
  const kept = useKept();
  return (
    <Panel title="Subsets" flush>
      {subsets.length === 0 ? (
        <p className="p-4 text-soft">No DestinationRule names subsets: rules can only lead to the service as a whole.</p>
      ) : (
        <Table
          label="Subsets"
          rows={subsets}
          id={(row) => `${row.declared_by} ${row.name}`}
          order="name"
          param="subsets"
          columns={[
            { key: "name", header: "Subset", sort: (row) => row.name, cell: (row) => <span className="font-medium">{row.name}</span> },
            { key: "labels", header: "Labels", cell: (row) => <span className="mono">{Object.entries(row.labels).map(([name, value]) => `${name}=${value}`).join(", ") || "–"}</span> },
            { key: "endpoints", header: "Endpoints", right: true, sort: (row) => row.endpoints.total, cell: (row) => <Ready count={row.endpoints} /> },
            { key: "seen", header: "Traffic it gets", right: true, sort: (row) => seen.get(row.labels.version ?? ""), cell: (row) => percent(seen.get(row.labels.version ?? "")) },
            { key: "by", header: "Declared by", cell: (row) => { const [namespace = "", name = ""] = row.declared_by.split("/"); return <Link href={kept(configPath({ kind: "DestinationRule", namespace, name }))}>{row.declared_by}</Link>; } },
          ]}
        />
      )}
    </Panel>
  );
}

/** How the requests were really shared among versions. */
function shares(graph: Graph | undefined, service: Service): Map<string, number> {
  const versions = graph?.nodes.find((node) => node.id === nodeId(service))?.versions ?? [];
  const total = versions.reduce((all, each) => all + (each.requests_per_second ?? 0), 0);
  return new Map(total > 0 ? versions.map((each) => [each.version, (each.requests_per_second ?? 0) / total]) : []);
}

export function RoutingOf({ service, path, graph }: { service: Service; path: string; graph: Graph | undefined }) {
  const routing = useGet<Routing>(`${path}/_routing`);
  const kept = useKept();
  return (
    <View of={routing}>
      {({ claimed_by: claims, led_to_by: others, subsets }) => {
        const within = claims.filter((claim) => claim.hidden || claim.gateways.includes("mesh"));
        const outside = claims.filter((claim) => !claim.hidden && !claim.gateways.includes("mesh"));
        return (
          <div className="grid gap-4">
            {within.length === 0 && (
              <Panel title="Calls within the mesh">
                <p className="text-soft">
                  No rule claims them: each request goes to any endpoint, whatever its version. <Link href={kept(`${servicePath(service)}?tab=traffic`)}>Shape the traffic</Link>
                </p>
              </Panel>
            )}
            {within.map((claim) => <Claim key={`${claim.namespace}/${claim.name}`} claim={claim} subsets={subsets} service={service} />)}
            <Subsets subsets={subsets} seen={shares(graph, service)} />
            {outside.length + others.length > 0 && (
              <Panel title="Gateways and other hosts" flush>
                <Table
                  label="Gateways and other hosts"
                  rows={[...outside.map((rules) => ({ rules, why: "claims its name at a gateway" })), ...others.map((rules) => ({ rules, why: "leads here from another host" }))]}
                  id={({ rules }) => `${rules.namespace}/${rules.name}`}
                  href={({ rules }) => kept(objectOf(rules))}
                  param="others"
                  columns={[
                    { key: "name", header: "VirtualService", cell: ({ rules }) => `${rules.namespace}/${rules.name}` },
                    { key: "why", header: "What it does", cell: ({ why }) => why },
                    { key: "hosts", header: "Hosts", cell: ({ rules }) => rules.hosts.join(", ") || "–" },
                    { key: "gateways", header: "At", cell: ({ rules }) => rules.gateways.join(", ") || "–" },
                  ]}
                />
              </Panel>
            )}
          </div>
        );
      }}
    </View>
  );
}
