import type { DeniedEdge, DryRun } from "../api/dryrun";
import type { Finding } from "../api/client";
import { plural, rate } from "../lib/format";
import { advice } from "../lib/lines";
import { Icon } from "./icons";
import { Badge } from "./status";

export function Findings({ findings }: { findings: Finding[] }) {
  return (
    <ul className="grid gap-2">
      {findings.map((found, index) => {
        const error = (found.severity ?? "error") === "error";
        return (
          <li key={index} className="flex gap-2">
            <span className={`mt-0.5 ${error ? "text-bad" : "text-warn"}`}>
              <Icon name={error ? "bad" : "warn"} size={14} label={error ? "error" : "warning"} />
            </span>
            <div className="min-w-0">
              <div className="break-words">{found.detail}</div>
              <div className="mono text-soft">
                {[found.line ? `line ${found.line}${found.column ? `:${found.column}` : ""}` : null, found.path || found.pointer, found.code].filter(Boolean).join(" · ")}
              </div>
              {found.suggestion && <div className="text-soft">{advice(found.suggestion)}</div>}
            </div>
          </li>
        );
      })}
    </ul>
  );
}

/** Calls that were seen and would be no more. */
function Cut({ edges }: { edges: DeniedEdge[] }) {
  if (edges.length === 0) return null;
  const short = (id: string) => id.replace(/^(workload|external):/, "");
  return (
    <div className="rounded-md bg-warn-soft px-3 py-2" data-denied="">
      <p className="font-medium text-warn">Of the calls of the last hour</p>
      <ul className="mt-1 grid gap-1">
        {edges.slice(0, 8).map((edge) => (
          <li key={`${edge.source} ${edge.destination} ${edge.principal}`} title={edge.because}>
            {short(edge.source)} → {short(edge.destination)} <span className="text-soft">{rate(edge.requests_per_second)}/s</span> {edge.decision === "denied" ? "would be denied" : "may be denied"}
          </li>
        ))}
      </ul>
      {edges.length > 8 && <p className="text-soft">and {edges.length - 8} more</p>}
    </div>
  );
}

/** What would happen: asked of the server while one writes. */
export function DryRunPane({ run }: { run: DryRun }) {
  const impact = run.applied?.impact;
  return (
    <section className="grid content-start gap-3 p-4" aria-label="Dry run" aria-live="polite" data-dryrun={run.state}>
      <h3 className="flex items-center gap-2 font-semibold">
        What would happen
        {run.state === "asking" && <Badge icon="clock">checking</Badge>}
        {run.state === "valid" && <Badge tone={run.findings.length > 0 ? "warn" : "ok"}>{run.findings.length > 0 ? `valid, ${plural(run.findings.length, "warning")}` : "valid"}</Badge>}
        {run.state === "invalid" && <Badge tone="bad">not valid: nothing can be applied</Badge>}
        {run.state === "failed" && <Badge tone="bad">could not be checked</Badge>}
      </h3>
      {run.state === "empty" && <p className="text-soft">Nothing is written here yet.</p>}
      {run.problem && run.findings.length === 0 && (run.state === "failed" || run.state === "invalid") && <p className="text-soft">{run.problem.detail ?? run.problem.title}</p>}
      {run.applied && (run.state === "valid" || run.state === "asking") && (
        <ul className="grid gap-1">
          {run.applied.items.map((item) => (
            <li key={`${item.kind} ${item.namespace} ${item.name}`} className="flex items-center gap-2">
              <Badge tone={item.change === "unchanged" ? "plain" : "info"} icon={item.change === "created" ? "plus" : item.change === "unchanged" ? "idle" : "edit"}>
                {item.change}
              </Badge>
              <span className="min-w-0 break-words">
                {item.kind} {item.namespace}/{item.name}
              </span>
            </li>
          ))}
        </ul>
      )}
      {impact?.proxies !== undefined && run.state === "valid" && (
        <p className="text-soft">
          Changes the configuration of {plural(impact.proxies, "proxy", "proxies")}
          {impact.sample && impact.sample.length > 0 && `: ${impact.sample.slice(0, 6).join(", ")}${impact.proxies > 6 ? " …" : ""}`}
        </p>
      )}
      {run.state === "valid" && <Cut edges={impact?.deniedObservedEdges ?? []} />}
      {run.findings.length > 0 && <Findings findings={run.findings} />}
    </section>
  );
}
