import { lazy, type ReactNode, Suspense } from "react";
import { Link } from "wouter";
import { useGraph } from "../../api/graph";
import { useGet } from "../../api/hooks";
import type { GraphNode, List, Overview, Revision, Trouble } from "../../api/types";
import { ago, clock, milliseconds, percent, plural, rate, until } from "../../lib/format";
import { top } from "../../lib/graph";
import { useKept } from "../../lib/params";
import { CopyAs } from "../../ui/copy";
import { Icon } from "../../ui/icons";
import { Figure, Page, Panel } from "../../ui/page";
import { Command, View } from "../../ui/states";
import { Badge, Status } from "../../ui/status";
import { Errors, servicePath } from "../services";
import { Problems } from "./problems";

const Charts = lazy(() => import("../trends").then((module) => ({ default: module.Trends })));

function Top({ title, nodes, value, none }: { title: string; nodes: GraphNode[]; value: (node: GraphNode) => ReactNode; none: string }) {
  const kept = useKept();
  return (
    <Panel title={title} flush>
      {nodes.length === 0 ? (
        <p className="px-4 py-3 text-soft">{none}</p>
      ) : (
        <ul>
          {nodes.map((node) => (
            <li key={node.id} className="flex h-9 items-center gap-2 border-b border-line px-4 last:border-b-0">
              <Link href={kept(node.kind === "service" ? servicePath(node) : `/topology?at=${encodeURIComponent(node.id)}`)} className="clip flex-1 font-medium">
                {node.name}
              </Link>
              <span className="tabular-nums">{value(node)}</span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function FirstRun() {
  const steps: [string, string, string][] = [
    ["The sample", "Four services that call each other, with traffic.", "weft up"],
    ["A program on this machine", "It gets a sidecar, an identity and a name.", "weft run --service hello --port 9080 --forward-to 127.0.0.1:9081 -- ./hello"],
    ["Another machine", "A token lets it in.", "weft token create --service-account hello"],
  ];
  return (
    <Panel title="Add the first service">
      <div className="grid gap-4 lg:grid-cols-3">
        {steps.map(([title, about, command]) => (
          <section key={title} className="grid content-start gap-2">
            <h3 className="font-semibold">{title}</h3>
            <p className="text-soft">{about}</p>
            <Command text={command} />
          </section>
        ))}
      </div>
      <p className="mt-4 flex items-center gap-2 text-soft" role="status">
        <Icon name="clock" /> Waiting for the first proxy…
      </p>
    </Panel>
  );
}

function Strip({ overview }: { overview: Overview }) {
  const { proxies, services, problems } = overview;
  const expiring = overview.certificates?.expiring ?? [];
  const lost = overview.registries.filter((registry) => registry.state === "stale");
  return (
    <div className="mb-4 grid grid-cols-2 gap-3 md:grid-cols-3 xl:grid-cols-6">
      <Figure name="Score" value={overview.score === null || overview.score === undefined ? "–" : Math.round(overview.score)} note="of 100" />
      <Figure name="Problems" value={problems.error + problems.warning} note={problems.error > 0 ? <Badge tone="bad">{plural(problems.error, "error")}</Badge> : problems.warning > 0 ? <Badge tone="warn">{plural(problems.warning, "warning")}</Badge> : <Badge tone="ok">none</Badge>} />
      <Figure name="Services" value={services.total} note={services.failing + services.degraded > 0 ? <Badge tone={services.failing > 0 ? "bad" : "warn"}>{`${services.failing + services.degraded} not well`}</Badge> : <Badge tone="ok">healthy</Badge>} />
      <Figure name="Proxies" value={proxies.total} note={proxies.nack > 0 ? <Badge tone="bad">{`${proxies.nack} refused`}</Badge> : proxies.stale > 0 ? <Badge tone="warn">{`${proxies.stale} on their way`}</Badge> : <Badge tone="ok">synced</Badge>} />
      <Figure name="Registries" value={overview.registries.length || "–"} note={overview.registries.length === 0 ? "not shown to your role" : lost.length > 0 ? <Badge tone="warn">{`${lost.length} stale`}</Badge> : <Badge tone="ok">synced</Badge>} />
      <Figure name="Certificates ending" value={expiring.length} note={expiring.length > 0 ? <span className="text-warn">{expiring[0] && `first ${until(expiring[0].not_after)}`}</span> : <Badge tone="ok">all renewed</Badge>} />
    </div>
  );
}

function Registries({ overview }: { overview: Overview }) {
  if (overview.registries.length === 0) return null;
  return (
    <Panel title="Registries" flush>
      <ul>
        {overview.registries.map((registry) => (
          <li key={registry.name} className="flex min-h-9 flex-wrap items-center gap-x-3 border-b border-line px-4 py-1 last:border-b-0">
            <span className="flex-1 font-medium">{registry.name}</span>
            <span className="text-soft">{`${plural(registry.services ?? 0, "service")}, ${plural(registry.endpoints ?? 0, "endpoint")}`}</span>
            <Status word={registry.state} />
          </li>
        ))}
      </ul>
    </Panel>
  );
}

/** What was changed last: the first that is asked when something breaks. */
function Latest() {
  const kept = useKept();
  const history = useGet<List<Revision>>("/history", { limit: 5 });
  const items = history.data?.items ?? [];
  return (
    <Panel title="Latest changes" flush actions={<Link href={kept("/activity")}>All</Link>}>
      {items.length === 0 ? (
        <p className="px-4 py-3 text-soft">{history.isError ? "The history cannot be read now." : history.data ? "Nothing was changed through the API yet." : "Reading…"}</p>
      ) : (
        <ul>
          {items.map(({ revision, at, author, message, changes }) => (
            <li key={revision} className="flex min-h-9 flex-wrap items-center gap-x-3 border-b border-line px-4 py-1 last:border-b-0">
              <span className="min-w-40 flex-1 break-words">
                {changes.slice(0, 2).map((change) => `${change.kind} ${change.namespace}/${change.name} ${change.change}`).join(", ")}
                {changes.length > 2 && ` and ${changes.length - 2} more`}
                {message && <span className="text-soft">{` · ${message}`}</span>}
              </span>
              <span className="text-soft" title={clock(at)}>{`${author}, ${ago(at)}`}</span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

export function HomePage() {
  const overview = useGet<Overview>("/overview", undefined, 10_000);
  const problems = useGet<List<Trouble>>("/problems", { limit: 1000 }, 5_000);
  const graph = useGraph();
  const nodes = graph.data?.nodes ?? [];
  // What is not known is not said to be none.
  const none = (words: string) => (graph.data ? words : graph.isError ? "The figures of the traffic cannot be read now." : "Reading…");
  return (
    <Page
      title="Home"
      about={overview.data && `${overview.data.mesh.trust_domain} · weft ${overview.data.mesh.version} · control plane started ${ago(overview.data.mesh.started_at)}`}
      actions={<CopyAs cli="weft problems list" path="/problems" more={[{ path: "/overview" }]} />}
    >
      <View of={overview}>
        {(overview) => (
          <>
            <Strip overview={overview} />
            <div className="grid gap-4">
              {overview.first_run && <FirstRun />}
              <div className="grid gap-4 lg:grid-cols-[minmax(0,2fr)_minmax(280px,1fr)]">
                <div className="grid content-start gap-4">
                  <View of={problems} rows={3}>{({ items }) => <Problems items={items} />}</View>
                  {!overview.first_run && (
                    <Panel title="Traffic of the mesh">
                      <Suspense fallback={<div className="skeleton h-36" />}>
                        <Charts query={{}} height={128} wide />
                      </Suspense>
                    </Panel>
                  )}
                  <Latest />
                </div>
                <div className="grid content-start gap-4">
                  <Top title="Most errors" none={none("No service answers with errors.")} nodes={top(nodes, (node) => node.error_ratio)} value={(node) => <Errors ratio={node.error_ratio} />} />
                  <Top title="Slowest (p95)" none={none("No latencies are known yet.")} nodes={top(nodes, (node) => node.latency_ms?.p95)} value={(node) => milliseconds(node.latency_ms?.p95)} />
                  <Top title="Most requests" none={none("No traffic in this time.")} nodes={top(nodes, (node) => node.requests_per_second)} value={(node) => `${rate(node.requests_per_second)}/s · ${percent(node.error_ratio)} err`} />
                  <Registries overview={overview} />
                </div>
              </div>
            </div>
          </>
        )}
      </View>
    </Page>
  );
}
