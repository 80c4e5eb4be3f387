import { type FormEvent, useState } from "react";
import { Link } from "wouter";
import { call, quote } from "../api/client";
import { useGet } from "../api/hooks";
import type { List, Service } from "../api/types";
import { milliseconds, percent } from "../lib/format";
import { useKept } from "../lib/params";
import { CopyAs } from "../ui/copy";
import { Facts, Panel } from "../ui/page";
import { ProblemBox } from "../ui/states";
import { Badge, type Tone } from "../ui/status";
import { configPath } from "./config";

interface Target {
  cluster: string;
  share: number;
  host?: string | null;
  subset?: string | null;
  mtls?: string | null;
  endpoints?: { address: string; health?: string }[] | null;
}

interface Answer {
  source: string;
  request: string;
  decision: "forwarded" | "redirected" | "answered" | "refused";
  status: number | null;
  route: string | null;
  policy: { kind: string; namespace: string; name: string } | null;
  targets: Target[];
  timeout_ms: number | null;
  retries: number | null;
  warnings: string[];
  steps: { step: string; detail: string }[];
}

const TONES: Record<string, Tone> = { forwarded: "ok", redirected: "info", answered: "info", refused: "bad" };

/** `name: value` on each line. */
export function headersOf(text: string): Record<string, string> {
  const pairs = text
    .split("\n")
    .map((line) => line.match(/^\s*([^:\s]+)\s*:\s*(.*?)\s*$/))
    .filter((found) => found !== null);
  return Object.fromEntries(pairs.map(([, name, value]) => [name as string, value as string]));
}

function Trace({ answer }: { answer: Answer }) {
  const kept = useKept();
  return (
    <div className="grid gap-4" data-decision={answer.decision}>
      <p className="flex flex-wrap items-center gap-2">
        <Badge tone={TONES[answer.decision]}>{answer.status ? `${answer.decision} with ${answer.status}` : answer.decision}</Badge>
        <code className="mono break-all">{answer.request}</code>
      </p>
      {answer.warnings.length > 0 && (
        <ul className="grid gap-1 rounded-md bg-warn-soft px-3 py-2 text-warn">
          {answer.warnings.map((words) => (
            <li key={words}>{words}</li>
          ))}
        </ul>
      )}
      <Facts
        rows={[
          ["Decided by", answer.source],
          ["Route", answer.route ?? "–"],
          ["Made by", answer.policy ? <Link href={kept(configPath(answer.policy))}>{`${answer.policy.kind} ${answer.policy.namespace}/${answer.policy.name}`}</Link> : "no rule: the mesh's own"],
          ["Timeout", answer.timeout_ms ? milliseconds(answer.timeout_ms) : "none"],
          ["Retries", answer.retries ?? "–"],
        ]}
      />
      {answer.targets.length > 0 && (
        <ul className="grid gap-1" aria-label="Where it goes">
          {answer.targets.map((target) => (
            <li key={target.cluster} className="flex flex-wrap items-center gap-2">
              <Badge tone="info" icon="right">{percent(target.share)}</Badge>
              <code className="mono break-all">{target.cluster}</code>
            </li>
          ))}
        </ul>
      )}
      <ol className="grid gap-2 border-l-2 border-line pl-4">
        {answer.steps.map((step, at) => (
          <li key={at} className="grid grid-cols-[128px_minmax(0,1fr)] gap-2">
            <span className="text-soft">{step.step}</span>
            <span className="break-words">{step.detail}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}

/** What would become of a request, decided as this proxy would decide it. */
export function Why({ proxy }: { proxy: string }) {
  const services = useGet<List<Service>>("/services", { limit: 1000 });
  const [destination, setDestination] = useState("");
  const [method, setMethod] = useState("GET");
  const [path, setPath] = useState("/");
  const [headers, setHeaders] = useState("");
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [failed, setFailed] = useState<unknown>(null);
  const body = { source: proxy, destination, method, path: path || "/", headers: headersOf(headers) };
  const given = Object.entries(body.headers).map(([name, value]) => ` --header ${quote(`${name}: ${value}`)}`);
  const cli = `weft why ${quote(`http://${destination}${body.path}`)} --from ${proxy} --method ${method}${given.join("")}`;
  const ask = (event: FormEvent) => {
    event.preventDefault();
    setFailed(null);
    call<Answer>("/_why", { method: "POST", body })
      .then(setAnswer)
      .catch((error: unknown) => {
        setAnswer(null);
        setFailed(error);
      });
  };
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(300px,2fr)_minmax(0,3fr)]">
      <Panel title="A request that this workload might send">
        <form className="grid gap-3" onSubmit={ask}>
          <label className="grid gap-1">
            <span className="font-medium">To</span>
            <input className="field mono" required list="destinations" value={destination} placeholder="reviews:9080" onChange={(event) => setDestination(event.target.value)} />
            <datalist id="destinations">
              {services.data?.items.map((service) => <option key={service.host} value={`${service.name}:${service.ports[0]?.port ?? 80}`} />)}
            </datalist>
          </label>
          <div className="grid grid-cols-[112px_1fr] gap-3">
            <label className="grid gap-1">
              <span className="font-medium">Method</span>
              <select className="field" value={method} onChange={(event) => setMethod(event.target.value)}>
                {["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"].map((each) => (
                  <option key={each}>{each}</option>
                ))}
              </select>
            </label>
            <label className="grid gap-1">
              <span className="font-medium">Path</span>
              <input className="field mono" value={path} onChange={(event) => setPath(event.target.value)} />
            </label>
          </div>
          <label className="grid gap-1">
            <span className="font-medium">Headers, one a line</span>
            <textarea className="field mono" rows={3} value={headers} placeholder="end-user: jason" onChange={(event) => setHeaders(event.target.value)} />
          </label>
          <div className="flex justify-end gap-2">
            <CopyAs cli={cli} path="/_why" options={{ method: "POST", body }} />
            <button type="submit" className="button primary" disabled={!destination}>Why?</button>
          </div>
        </form>
      </Panel>
      <Panel title="What becomes of it">
        <div aria-live="polite">
          {failed !== null ? <ProblemBox error={failed} /> : answer ? <Trace answer={answer} /> : <p className="text-soft">Each step of the decision is told: the route, the rule that made it, the cluster, its endpoints, mutual TLS.</p>}
        </div>
      </Panel>
    </div>
  );
}
