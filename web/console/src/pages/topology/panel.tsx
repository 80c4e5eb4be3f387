import type { ReactNode } from "react";
import { Link, useLocation } from "wouter";
import { useGet } from "../../api/hooks";
import type { Endpoint, Graph, GraphEdge, GraphNode, List, Manifest, Matrix } from "../../api/types";
import { keepDraft, NEW } from "../../lib/drafts";
import { bytes, milliseconds, percent, rate } from "../../lib/format";
import { edgeTone, serviceOf } from "../../lib/graph";
import { toYaml } from "../../lib/manifest";
import { useKept } from "../../lib/params";
import { Icon } from "../../ui/icons";
import { Facts } from "../../ui/page";
import { Badge, errorTone, Long, Mtls, Status } from "../../ui/status";
import { configPath } from "../config";
import { DecisionBadge } from "../matrix";
import { callersOf } from "../service/policies";
import { Trends } from "../trends";

function Frame({ title, kind, close, children }: { title: string; kind: string; close: () => void; children: ReactNode }) {
  return (
    <aside className="panel flex w-[336px] shrink-0 flex-col overflow-hidden max-md:w-auto" aria-label={title}>
      <div className="panel-title">
        <div className="min-w-0 flex-1">
          <h2 className="clip leading-5">{title}</h2>
          <div className="text-xs leading-4 font-normal text-soft">{kind}</div>
        </div>
        <button type="button" className="button quiet small" aria-label="Close" onClick={close}>
          <Icon name="close" />
        </button>
      </div>
      <div className="grid min-h-0 content-start gap-4 overflow-auto p-4">{children}</div>
    </aside>
  );
}

const short = (id: string) => id.replace(/^(workload|external|namespace):/, "").replace(/^default\//, "").replace("@", " ");

export function Codes({ codes }: { codes: Record<string, number> }) {
  const known = Object.entries(codes).filter(([, value]) => value > 0).sort(([, a], [, b]) => b - a);
  if (known.length === 0) return null;
  return (
    <div className="flex flex-wrap gap-1.5" role="list" aria-label="Answers per second by status">
      {known.slice(0, 8).map(([code, value]) => (
        <span key={code} role="listitem">
          <Badge tone={/^5|^0$/.test(code) ? "bad" : code.startsWith("4") ? "warn" : "ok"}>
            {code} · {rate(value)}/s
          </Badge>
        </span>
      ))}
    </div>
  );
}

/** `other` is whom it deals with, `own` its own end: one of its versions, where that is known. */
function Calls({ title, edges, other, own, choose }: { title: string; edges: GraphEdge[]; other: (edge: GraphEdge) => string; own?: (edge: GraphEdge) => string; choose: (id: string) => void }) {
  if (edges.length === 0) return null;
  return (
    <section>
      <h3 className="mb-1 text-xs font-semibold text-soft">{title}</h3>
      <ul>
        {edges.map((edge) => (
          <li key={edge.id}>
            <button type="button" className="flex w-full items-center gap-2 rounded px-1 py-1 text-left hover:bg-raised" onClick={() => choose(edge.id)}>
              <span className="clip flex-1 text-accent">{short(other(edge))}</span>
              {own?.(edge) && <span className="text-soft">{own(edge)}</span>}
              <span className="text-soft tabular-nums">{rate(edge.requests_per_second ?? edge.connections_per_second)}/s</span>
              {edge.error_ratio !== null && edge.error_ratio >= 0.01 && <Badge tone={errorTone(edge.error_ratio)}>{percent(edge.error_ratio)}</Badge>}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

export function NodePanel({ node, graph, choose }: { node: GraphNode; graph: Graph; choose: (id: string) => void }) {
  const kept = useKept();
  const [, name = node.name] = serviceOf(node.id).split("/");
  const service = `/services/${encodeURIComponent(node.namespace)}/${encodeURIComponent(name)}`;
  const isService = (node.kind === "service" || node.kind === "version") && !node.id.startsWith("namespace:");
  const version = (id: string) => (node.part_of ? "" : (id.split("@")[1] ?? ""));
  // A service is called where one of its versions is.
  const isIt = (id: string) => id === node.id || (!node.part_of && serviceOf(id) === node.id);
  return (
    <Frame title={node.name} kind={[node.kind, node.namespace].filter(Boolean).join(" in ")} close={() => choose("")}>
      <Facts
        rows={[
          ["Health", <Status word={node.health} />],
          ["Requests/s", rate(node.requests_per_second)],
          ["Errors", percent(node.error_ratio)],
          ["p50 · p95 · p99", `${milliseconds(node.latency_ms?.p50)} · ${milliseconds(node.latency_ms?.p95)} · ${milliseconds(node.latency_ms?.p99)}`],
          ...(node.endpoints ? ([["Endpoints", `${node.endpoints.ready} of ${node.endpoints.total} ready`]] as [string, string][]) : []),
          ...(node.platforms.length > 0 ? ([["Runs on", node.platforms.join(", ")]] as [string, string][]) : []),
        ]}
      />
      {isService && (
        <div className="flex flex-wrap gap-2">
          <Link href={kept(service)} className="button">
            <Icon name="services" size={14} /> Open
          </Link>
          <Link href={kept(`${service}?tab=traffic`)} className="button">
            <Icon name="split" size={14} /> Shift traffic
          </Link>
        </div>
      )}
      <Versions versions={node.versions} />
      <Calls title="Called by" edges={graph.edges.filter((edge) => isIt(edge.destination))} other={(edge) => edge.source} own={(edge) => version(edge.destination)} choose={choose} />
      <Calls title="Calls" edges={graph.edges.filter((edge) => isIt(edge.source))} other={(edge) => edge.destination} own={(edge) => version(edge.source)} choose={choose} />
      {isService && <Trends query={{ service: serviceOf(node.id) }} height={110} />}
    </Frame>
  );
}

/** How the traffic is shared among versions: bars with their figures. */
export function Versions({ versions }: { versions: { version: string; requests_per_second: number | null; error_ratio?: number | null }[] }) {
  const named = versions.filter((each) => each.version).sort((a, b) => a.version.localeCompare(b.version, "en", { numeric: true }));
  const total = named.reduce((all, each) => all + (each.requests_per_second ?? 0), 0);
  if (named.length === 0) return null;
  return (
    <section>
      <h3 className="mb-1 text-xs font-semibold text-soft">Versions</h3>
      <ul className="grid gap-1.5" data-versions="">
        {named.map(({ version, requests_per_second: share, error_ratio: errors }) => {
          const part = total > 0 ? (share ?? 0) / total : null;
          return (
            <li key={version} className="grid grid-cols-[40px_1fr_max-content] items-center gap-2 tabular-nums">
              <span className="clip">{version}</span>
              <span className="h-2 overflow-hidden rounded bg-raised" aria-hidden="true">
                <span className="block h-full rounded bg-accent" style={{ width: `${(part ?? 0) * 100}%` }} />
              </span>
              <span className="text-right text-soft">
                {percent(part)} · {rate(share)}/s
                {errors !== null && errors !== undefined && errors >= 0.01 && ` · ${percent(errors)} err`}
              </span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** The rule that lets a caller's identity call a service and leaves everything else as it is: there is none where no label tells the workload apart. */
export function allowing(caller: string, service: { namespace: string; name: string }, labels: Record<string, string>): Manifest | null {
  const label = ["app", "app.kubernetes.io/name"].find((name) => labels[name]);
  if (!label) return null;
  const account = caller.split("/").at(-1) ?? "caller";
  return {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: `allow-${account}-to-${service.name}`, namespace: service.namespace },
    spec: {
      selector: { matchLabels: { [label]: labels[label] } },
      action: "ALLOW",
      rules: [{ from: [{ source: { principals: [caller] } }] }],
    },
  };
}

/** What the policies say of the calls of an edge, and what changes that. */
function Allowed({ edge, node }: { edge: GraphEdge; node: GraphNode }) {
  const kept = useKept();
  const [, go] = useLocation();
  const matrix = useGet<Matrix>("/_authz/matrix", { namespace: node.namespace });
  const endpoints = useGet<List<Endpoint>>(`/services/${encodeURIComponent(node.namespace)}/${encodeURIComponent(node.name)}/_endpoints`, { limit: 1 });
  const caller = edge.principals?.source?.replace("spiffe://", "") ?? "plaintext";
  const found = matrix.data && callersOf(matrix.data, node.host ?? "").filter((row) => row.identity === caller);
  if (!found || found.length === 0) return null;
  const one = found.find((row) => row.decision === "denied") ?? found.find((row) => row.decision === "depends") ?? found[0];
  if (!one) return null;
  // One that denies goes before all that allow: then that one has to change.
  const [, namespace, name] = /of ([^\s/]+)\/(\S+)/.exec(one.because) ?? [];
  const rule = allowing(caller, node, endpoints.data?.items[0]?.labels ?? {});
  const prepare = (rule: Manifest) => {
    keepDraft(NEW, toYaml([rule]));
    go(kept("/config/new"));
  };
  return (
    <section className="grid justify-items-start gap-2" data-allowed={one.decision}>
      <h3 className="text-xs font-semibold text-soft">By the policies</h3>
      <DecisionBadge decision={one.decision} />
      <p className="break-words">{one.because}</p>
      {namespace && name ? (
        <Link href={kept(configPath({ kind: "AuthorizationPolicy", namespace, name }))} className="button small">{`Open ${namespace}/${name}`}</Link>
      ) : (
        rule && one.decision !== "allowed" && caller !== "plaintext" && <button type="button" className="button small" onClick={() => prepare(rule)}>Allow this</button>
      )}
    </section>
  );
}

export function EdgePanel({ edge, graph, choose }: { edge: GraphEdge; graph: Graph; choose: (id: string) => void }) {
  const tone = edgeTone(edge);
  const called = graph.nodes.find((node) => node.id === serviceOf(edge.destination) && node.kind === "service" && node.host);
  return (
    <Frame title={`${short(edge.source)} → ${short(edge.destination)}`} kind={edge.protocol} close={() => choose("")}>
      {(tone === "bad" || tone === "denied") && (
        <div>
          <Badge tone="bad">{tone === "denied" ? "denied by policy" : "failing"}</Badge>
        </div>
      )}
      <Facts
        rows={[
          ["Requests/s", rate(edge.requests_per_second)],
          ["Errors", percent(edge.error_ratio)],
          ["p50 · p95 · p99", `${milliseconds(edge.latency_ms?.p50)} · ${milliseconds(edge.latency_ms?.p95)} · ${milliseconds(edge.latency_ms?.p99)}`],
          ["Sent", `${bytes(edge.bytes_per_second?.sent)}/s`],
          ["Received", `${bytes(edge.bytes_per_second?.received)}/s`],
          ["Encryption", <Mtls ratio={edge.mtls_ratio} />],
          ...((edge.denied_per_second ?? 0) > 0 ? ([["Denied", `${rate(edge.denied_per_second)}/s`]] as [string, string][]) : []),
        ]}
      />
      <Codes codes={edge.codes} />
      {called && <Allowed edge={edge} node={called} />}
      <Versions versions={edge.versions} />
      {edge.principals && (edge.principals.source || edge.principals.destination) && (
        <Facts
          rows={[
            ["Caller is", <Long>{edge.principals.source ?? "–"}</Long>],
            ["Called is", <Long>{edge.principals.destination ?? "–"}</Long>],
          ]}
        />
      )}
      <div className="flex flex-wrap gap-2">
        <button type="button" className="button" onClick={() => choose(edge.source)}>
          {short(edge.source)}
        </button>
        <button type="button" className="button" onClick={() => choose(edge.destination)}>
          {short(edge.destination)}
        </button>
      </div>
      <Trends query={{ source: serviceOf(edge.source), destination: serviceOf(edge.destination) }} height={110} />
    </Frame>
  );
}
