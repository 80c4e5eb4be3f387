import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link } from "wouter";
import { useCan } from "../../api/can";
import { call, quote } from "../../api/client";
import type { Trouble } from "../../api/types";
import { ago, plural, until } from "../../lib/format";
import { seenAt } from "../../lib/graph";
import { useKept, useParam } from "../../lib/params";
import { CopyAs } from "../../ui/copy";
import { Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icons";
import { Panel } from "../../ui/page";
import { EmptyFiltered, ProblemBox } from "../../ui/states";
import { Badge, type Tone } from "../../ui/status";

const TONE: Record<string, Tone> = { error: "bad", warning: "warn", info: "info" };
const SPANS: [string, number][] = [["an hour", 3600], ["a day", 86_400], ["a week", 7 * 86_400], ["30 days", 30 * 86_400], ["90 days", 90 * 86_400]];

/** Where a problem's link leads within the console; links of the API lead to the same things. */
export function placeOf(trouble: Trouble): string | null {
  // What is said of an edge is seen at the edge.
  const [, source, destination] = /^(\S+) > (\S+)$/.exec(trouble.object ?? "") ?? [];
  if (source && destination) return seenAt(`${source}>${destination}`);
  const link = trouble.link?.replace(/^\/api\/v1/, "");
  if (!link) return null;
  const [, kind, namespace, name] = /^\/([a-z]+)\/([^/]+)\/([^/?]+)/.exec(link) ?? [];
  if (kind && namespace && name && !["services", "config"].includes(kind)) return `/config/${kind}/${namespace}/${name}`;
  return link;
}

function Mute({ trouble, close }: { trouble: Trouble; close: () => void }) {
  const [reason, setReason] = useState("");
  const [seconds, setSeconds] = useState(86_400);
  const [failed, setFailed] = useState<unknown>(null);
  const client = useQueryClient();
  const body = { code: trouble.code, object: trouble.object, reason, ttl_seconds: seconds };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    call("/problems/_mutes", { method: "POST", body })
      .then(() => {
        void client.invalidateQueries();
        close();
      })
      .catch(setFailed);
  };
  return (
    <Dialog title={`Mute ${trouble.code}`} close={close}>
      <form className="grid gap-4" onSubmit={submit}>
        <p>
          <span className="font-medium">{trouble.object}</span>: {trouble.message}
        </p>
        <p className="text-soft">It stays at the end of the list and counts for nothing until then, for everybody.</p>
        <label className="grid gap-1">
          <span className="font-medium">Why nobody needs to look at it</span>
          <input className="field" required data-focus="" value={reason} placeholder="is being replaced" onChange={(event) => setReason(event.target.value)} />
        </label>
        <label className="grid gap-1">
          <span className="font-medium">For</span>
          <select className="field" value={seconds} onChange={(event) => setSeconds(Number(event.target.value))}>
            {SPANS.map(([name, value]) => (
              <option key={value} value={value}>{name}</option>
            ))}
          </select>
        </label>
        {failed !== null && <ProblemBox error={failed} />}
        <div className="flex flex-wrap justify-end gap-2">
          <CopyAs cli={`weft problems mute ${trouble.code} ${quote(trouble.object ?? "")} --reason ${quote(reason)} --for ${seconds / 3600}h`} path="/problems/_mutes" options={{ method: "POST", body }} />
          <button type="button" className="button" onClick={close}>Cancel</button>
          <button type="submit" className="button primary" disabled={!reason.trim()}>Mute</button>
        </div>
      </form>
    </Dialog>
  );
}

function Problem({ trouble, denied, mute, unmute }: { trouble: Trouble; denied: string | null; mute: () => void; unmute: (id: string) => void }) {
  const kept = useKept();
  const place = placeOf(trouble);
  const { muted } = trouble;
  return (
    <li className="flex flex-wrap gap-x-3 gap-y-1 border-b border-line px-4 py-3 last:border-b-0" data-problem={trouble.code} data-severity={trouble.severity} data-muted={muted ? "" : undefined}>
      <span className="w-[72px] shrink-0">{muted ? <Badge icon="pause">muted</Badge> : <Badge tone={TONE[trouble.severity]}>{trouble.severity}</Badge>}</span>
      <div className="min-w-48 flex-1">
        {trouble.title && <div className="font-medium">{trouble.title}</div>}
        <div className="break-words">{trouble.message}</div>
        {muted ? (
          <div className="text-soft">{`Muted by ${muted.author}, ends ${until(muted.until)}: ${muted.reason}`}</div>
        ) : (
          trouble.hint && <div className="text-soft">{trouble.hint}</div>
        )}
        <div className="mono break-words text-soft">{[trouble.code, trouble.object ?? "", trouble.since ? `since ${ago(trouble.since)}` : null].filter(Boolean).join(" · ")}</div>
      </div>
      <div className="flex gap-2 self-start">
        {muted && <CopyAs small cli={`weft problems unmute ${trouble.code} ${quote(trouble.object ?? "")}`} path={`/problems/_mutes/${encodeURIComponent(muted.id)}`} options={{ method: "DELETE" }} />}
        <button type="button" className="button small" disabled={denied !== null} title={denied ?? undefined} aria-label={`${muted ? "Unmute" : "Mute"} ${trouble.code} ${trouble.object ?? ""}`} onClick={() => (muted ? unmute(muted.id) : mute())}>
          {muted ? "Unmute" : "Mute"}
        </button>
        {place && (
          <Link href={kept(place)} className="button small">
            Open
          </Link>
        )}
      </div>
    </li>
  );
}

/** What is wrong with one thing, and why. */
export function Reasons({ items }: { items: Trouble[] }) {
  const kept = useKept();
  return (
    <ul className="panel mb-4" aria-label="What is wrong">
      {items.map((trouble, at) => {
        const place = placeOf(trouble);
        return (
          <li key={at} className="flex flex-wrap items-start gap-x-3 gap-y-1 border-b border-line px-4 py-3 last:border-b-0">
            <Badge tone={TONE[trouble.severity]}>{trouble.code}</Badge>
            <div className="min-w-48 flex-1 break-words">
              {trouble.message}
              {trouble.hint && <div className="text-soft">{trouble.hint}</div>}
            </div>
            {place && <Link href={kept(place)} className="button small">Open</Link>}
          </li>
        );
      })}
    </ul>
  );
}

/** Problems of a service: of itself, of who calls it, of what it offers. */
export const concerns = ({ object, link, muted }: Trouble, service: { namespace: string; name: string; host: string }) => {
  const id = `${service.namespace}/${service.name}`;
  return !muted && (Boolean(object?.endsWith(` > ${id}`)) || link === `/api/v1/services/${id}` || Boolean(object?.split(" ").some((word) => word === service.host)));
};

/** All that is wrong, the worst first; what is muted comes last and is counted apart. */
export function Problems({ items }: { items: Trouble[] }) {
  const [severity, setSeverity] = useParam("severity");
  const [muting, setMuting] = useState<Trouble | null>(null);
  const [failed, setFailed] = useState<unknown>(null);
  const client = useQueryClient();
  const denied = useCan("write");
  const live = items.filter((each) => !each.muted);
  const is = (each: Trouble, name: string) => (name === "muted" ? Boolean(each.muted) : !each.muted && each.severity === name);
  const shown = items.filter((each) => !severity || is(each, severity));
  const unmute = (id: string) => {
    call(`/problems/_mutes/${encodeURIComponent(id)}`, { method: "DELETE" })
      .then(() => client.invalidateQueries())
      .catch(setFailed);
  };
  return (
    <Panel
      title="Problems"
      flush
      actions={
        items.length > 0 && (
          <select className="field h-7" aria-label="Severity" value={severity} onChange={(event) => setSeverity(event.target.value)}>
            <option value="">All ({items.length})</option>
            {["error", "warning", "info", "muted"].map((name) => (
              <option key={name} value={name}>{`${name} (${items.filter((each) => is(each, name)).length})`}</option>
            ))}
          </select>
        )
      }
    >
      <p className="sr-only" aria-live="polite">{plural(live.length, "problem")}</p>
      {failed !== null && <div className="p-4"><ProblemBox error={failed} /></div>}
      {live.length === 0 && !severity && (
        <p className="flex items-center gap-2 p-4 text-ok">
          <Icon name="ok" /> Nothing is wrong that the mesh knows of{items.length > 0 && ", beside what is muted"}.
        </p>
      )}
      {items.length > 0 && shown.length === 0 && <EmptyFiltered what="problems" clear={() => setSeverity("")} />}
      {shown.length > 0 && (
        <ul className="max-h-[440px] overflow-auto" tabIndex={0} aria-label="Problems">
          {shown.map((trouble, at) => (
            <Problem key={`${trouble.code} ${trouble.object ?? ""} ${at}`} trouble={trouble} denied={denied} mute={() => setMuting(trouble)} unmute={unmute} />
          ))}
        </ul>
      )}
      {muting && <Mute trouble={muting} close={() => setMuting(null)} />}
    </Panel>
  );
}
