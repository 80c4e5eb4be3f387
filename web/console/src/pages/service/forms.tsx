import type { ReactNode } from "react";
import { balance, type Rules, type Subject } from "../../lib/rules";

export interface FormProps {
  rules: Rules;
  subject: Subject;
  set: (rules: Rules) => void;
  disabled: boolean;
}

function Field({ name, children, hint }: { name: string; children: ReactNode; hint?: string }) {
  return (
    <label className="grid content-start gap-1">
      <span className="font-medium">{name}</span>
      {children}
      {hint && <span className="text-xs text-soft">{hint}</span>}
    </label>
  );
}

function Switch({ name, on, set, disabled }: { name: string; on: boolean; set: (on: boolean) => void; disabled: boolean }) {
  return (
    <label className="flex items-center gap-2 font-medium">
      <input type="checkbox" className="size-4 accent-[var(--accent)]" checked={on} disabled={disabled} onChange={(event) => set(event.target.checked)} />
      {name}
    </label>
  );
}

function Num({ value, set, min = 0, max = 100, label, disabled }: { value: number; set: (value: number) => void; min?: number; max?: number; label: string; disabled: boolean }) {
  return <input className="field w-24 tabular-nums" type="number" min={min} max={max} aria-label={label} value={value} disabled={disabled} onChange={(event) => event.target.value !== "" && set(Number(event.target.value))} />;
}

function Version({ value, subject, set, label, disabled }: { value: string; subject: Subject; set: (value: string) => void; label: string; disabled: boolean }) {
  return (
    <select className="field" aria-label={label} value={value} disabled={disabled} onChange={(event) => set(event.target.value)}>
      {!subject.versions.includes(value) && <option value={value}>{value || "–"}</option>}
      {subject.versions.map((version) => (
        <option key={version}>{version}</option>
      ))}
    </select>
  );
}

export function Shift({ rules, subject, set, disabled }: FormProps) {
  const versions = [...new Set([...subject.versions, ...Object.keys(rules.weights)])].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const total = Object.values(rules.weights).reduce((all, weight) => all + weight, 0);
  const quick: [string, Record<string, number>][] = versions.map((version) => [`All to ${version}`, Object.fromEntries(versions.map((each) => [each, each === version ? 100 : 0]))]);
  if (versions.length === 2) quick.unshift(["50 / 50", Object.fromEntries(versions.map((each) => [each, 50]))]);
  if (versions.length < 2) return <p className="text-soft">There is one version only: nothing to shift between.</p>;
  return (
    <div className="grid gap-4">
      <p className="text-soft">How requests are shared among versions. The others follow when one is moved.</p>
      {versions.map((version) => {
        const weight = rules.weights[version] ?? 0;
        const change = (value: number) => set({ ...rules, weights: balance(Object.fromEntries(versions.map((each) => [each, rules.weights[each] ?? 0])), version, value) });
        return (
          <div key={version} className="grid grid-cols-[48px_1fr_96px_16px] items-center gap-3">
            <span className="font-medium">{version}</span>
            <input type="range" className="min-w-0 accent-[var(--accent)]" min={0} max={100} step={5} aria-label={`Share of ${version}`} value={weight} disabled={disabled} onChange={(event) => change(Number(event.target.value))} />
            <Num label={`Percent to ${version}`} value={weight} set={change} disabled={disabled} />
            <span className="text-soft">%</span>
          </div>
        );
      })}
      <div className="flex flex-wrap gap-2">
        {quick.map(([name, weights]) => (
          <button key={name} type="button" className="button small" disabled={disabled} onClick={() => set({ ...rules, weights })}>
            {name}
          </button>
        ))}
        <button type="button" className="button small" disabled={disabled} onClick={() => set({ ...rules, weights: Object.fromEntries(versions.map((each) => [each, 0])) })}>
          By endpoints
        </button>
      </div>
      {total === 0 && <p className="text-soft">No weights: every endpoint gets its share, whatever its version.</p>}
    </div>
  );
}

export function MatchRoute({ rules, subject, set, disabled }: FormProps) {
  const { match } = rules;
  const first = subject.versions[0] ?? "";
  return (
    <div className="grid gap-4">
      <p className="text-soft">Some requests go to one version, whatever the weights say.</p>
      <Switch name="Route by a match" on={match !== null} disabled={disabled} set={(on) => set({ ...rules, match: on ? { kind: "header", name: "end-user", value: "", version: first } : null })} />
      {match && (
        <div className="grid gap-4 sm:grid-cols-2">
          <Field name="Match on">
            <select className="field" value={match.kind} disabled={disabled} onChange={(event) => set({ ...rules, match: { ...match, kind: event.target.value as "header" | "prefix" } })}>
              <option value="header">a header</option>
              <option value="prefix">the path's beginning</option>
            </select>
          </Field>
          {match.kind === "header" && (
            <Field name="Header">
              <input className="field mono" value={match.name} disabled={disabled} onChange={(event) => set({ ...rules, match: { ...match, name: event.target.value } })} />
            </Field>
          )}
          <Field name={match.kind === "header" ? "Is exactly" : "Path begins with"}>
            <input className="field mono" value={match.value} disabled={disabled} onChange={(event) => set({ ...rules, match: { ...match, value: event.target.value } })} />
          </Field>
          <Field name="Goes to">
            <Version label="Version for the match" value={match.version} subject={subject} disabled={disabled} set={(version) => set({ ...rules, match: { ...match, version } })} />
          </Field>
        </div>
      )}
    </div>
  );
}

export function Resilience({ rules, set, disabled }: FormProps) {
  const { retries } = rules;
  return (
    <div className="grid gap-4">
      <Field name="Timeout" hint="How long a request may take with all its retries: 500ms, 3s. Empty: no limit.">
        <input className="field mono w-40" value={rules.timeout} disabled={disabled} placeholder="no limit" onChange={(event) => set({ ...rules, timeout: event.target.value })} />
      </Field>
      <Switch name="Retries of its own" on={retries !== null} disabled={disabled} set={(on) => set({ ...rules, retries: on ? { attempts: 2, perTryTimeout: "2s", retryOn: "connect-failure,refused-stream,unavailable,503" } : null })} />
      {retries && (
        <div className="grid gap-4 sm:grid-cols-2">
          <Field name="Attempts after the first">
            <Num label="Attempts after the first" value={retries.attempts} max={10} disabled={disabled} set={(attempts) => set({ ...rules, retries: { ...retries, attempts } })} />
          </Field>
          <Field name="Timeout of each">
            <input className="field mono" value={retries.perTryTimeout} disabled={disabled} onChange={(event) => set({ ...rules, retries: { ...retries, perTryTimeout: event.target.value } })} />
          </Field>
          <div className="col-span-full">
            <Field name="Retried on">
              <input className="field mono" value={retries.retryOn} disabled={disabled} onChange={(event) => set({ ...rules, retries: { ...retries, retryOn: event.target.value } })} />
            </Field>
          </div>
        </div>
      )}
    </div>
  );
}

export function Fault({ rules, set, disabled }: FormProps) {
  const { abort, delay } = rules;
  return (
    <div className="grid gap-4">
      <p className="text-soft">Callers meet these faults on purpose. The problems list tells of them while they last.</p>
      <Switch name="Answer with an error" on={abort !== null} disabled={disabled} set={(on) => set({ ...rules, abort: on ? { percent: 10, status: 503 } : null })} />
      {abort && (
        <div className="grid gap-4 sm:grid-cols-2">
          <Field name="Percent of requests">
            <Num label="Percent of requests aborted" value={abort.percent} disabled={disabled} set={(percent) => set({ ...rules, abort: { ...abort, percent } })} />
          </Field>
          <Field name="Status">
            <Num label="Status of aborted requests" value={abort.status} min={200} max={599} disabled={disabled} set={(status) => set({ ...rules, abort: { ...abort, status } })} />
          </Field>
        </div>
      )}
      <Switch name="Delay" on={delay !== null} disabled={disabled} set={(on) => set({ ...rules, delay: on ? { percent: 10, fixed: "2s" } : null })} />
      {delay && (
        <div className="grid gap-4 sm:grid-cols-2">
          <Field name="Percent of requests">
            <Num label="Percent of requests delayed" value={delay.percent} disabled={disabled} set={(percent) => set({ ...rules, delay: { ...delay, percent } })} />
          </Field>
          <Field name="By">
            <input className="field mono" value={delay.fixed} disabled={disabled} onChange={(event) => set({ ...rules, delay: { ...delay, fixed: event.target.value } })} />
          </Field>
        </div>
      )}
    </div>
  );
}

export function Mirror({ rules, subject, set, disabled }: FormProps) {
  const { mirror } = rules;
  return (
    <div className="grid gap-4">
      <p className="text-soft">A copy of the requests goes to another version; its answers are thrown away.</p>
      <Switch name="Mirror requests" on={mirror !== null} disabled={disabled} set={(on) => set({ ...rules, mirror: on ? { version: subject.versions.at(-1) ?? "", percent: 100 } : null })} />
      {mirror && (
        <div className="grid gap-4 sm:grid-cols-2">
          <Field name="To">
            <Version label="Version that gets the copies" value={mirror.version} subject={subject} disabled={disabled} set={(version) => set({ ...rules, mirror: { ...mirror, version } })} />
          </Field>
          <Field name="Percent of requests">
            <Num label="Percent of requests mirrored" value={mirror.percent} disabled={disabled} set={(percent) => set({ ...rules, mirror: { ...mirror, percent } })} />
          </Field>
        </div>
      )}
    </div>
  );
}

export function Breaker({ rules, set, disabled }: FormProps) {
  const { breaker } = rules;
  return (
    <div className="grid gap-4">
      <p className="text-soft">Callers stop asking an endpoint that fails, and ask no more at a time than it bears.</p>
      <Switch name="Circuit breaker" on={breaker !== null} disabled={disabled} set={(on) => set({ ...rules, breaker: on ? { maxConnections: 100, maxPending: 100, consecutiveErrors: 5, interval: "10s", ejection: "30s" } : null })} />
      {breaker && (
        <div className="grid gap-4 sm:grid-cols-2">
          <Field name="Connections at most">
            <Num label="Connections at most" value={breaker.maxConnections} min={1} max={1_000_000} disabled={disabled} set={(maxConnections) => set({ ...rules, breaker: { ...breaker, maxConnections } })} />
          </Field>
          <Field name="Requests waiting at most">
            <Num label="Requests waiting at most" value={breaker.maxPending} min={1} max={1_000_000} disabled={disabled} set={(maxPending) => set({ ...rules, breaker: { ...breaker, maxPending } })} />
          </Field>
          <Field name="Left out after errors in a row">
            <Num label="Left out after errors in a row" value={breaker.consecutiveErrors} min={1} max={1000} disabled={disabled} set={(consecutiveErrors) => set({ ...rules, breaker: { ...breaker, consecutiveErrors } })} />
          </Field>
          <Field name="Looked at every">
            <input className="field mono" value={breaker.interval} disabled={disabled} onChange={(event) => set({ ...rules, breaker: { ...breaker, interval: event.target.value } })} />
          </Field>
          <Field name="Left out for at least">
            <input className="field mono" value={breaker.ejection} disabled={disabled} onChange={(event) => set({ ...rules, breaker: { ...breaker, ejection: event.target.value } })} />
          </Field>
        </div>
      )}
    </div>
  );
}
