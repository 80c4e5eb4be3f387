import { useQueryClient } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useEffect, useState } from "react";
import { useLocation, useParams } from "wouter";
import { call } from "../../api/client";
import { type Applied, apply, type Outcome, useDryRun } from "../../api/dryrun";
import { useGet } from "../../api/hooks";
import { useCan } from "../../api/can";
import type { Manifest, Resource } from "../../api/types";
import { KINDS, pluralOf } from "../../lib/kinds";
import { NEW, useDraft } from "../../lib/drafts";
import { fromYaml, toYaml } from "../../lib/manifest";
import { useKept } from "../../lib/params";
import { CopyAs } from "../../ui/copy";
import { Dialog } from "../../ui/dialog";
import { DryRunPane } from "../../ui/dryrun";
import { Icon } from "../../ui/icons";
import { Page, Tabs } from "../../ui/page";
import { Loading, ProblemBox, ReadOnly, View } from "../../ui/states";
import { HistoryOf } from "./history";
import { ownerOf } from "./index";
import { TEMPLATES } from "./templates";

const Editor = lazy(() => import("../../ui/editor"));
const Compare = lazy(() => import("../../ui/editor").then((module) => ({ default: module.Compare })));

export function Message({ value, set }: { value: string; set: (value: string) => void }) {
  return <input className="field min-w-40 flex-1" aria-label="Why, for the history" placeholder="Why (kept in the history)" value={value} onChange={(event) => set(event.target.value)} />;
}

/** Text, its dry run beside it, and what applies it. */
export function EditPane({ text, setText, before, readOnly, applied, save, form }: { text: string; setText: (text: string) => void; before: string; readOnly: boolean; applied: () => void; save?: (text: string, message: string) => Promise<Applied>; form?: ReactNode }) {
  const [asked, ask] = useState(0);
  const [message, setMessage] = useState("");
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  const [told, setTold] = useState("");
  const run = useDryRun(text, asked, !readOnly);
  const changed = text !== before;
  const client = useQueryClient();
  useEffect(() => {
    if (!changed || readOnly) return undefined;
    const question = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", question);
    return () => removeEventListener("beforeunload", question);
  }, [changed, readOnly]);
  const send = () => {
    if (busy || readOnly || run.state !== "valid" || !changed) return;
    setBusy(true);
    setFailed(null);
    (save ?? ((text: string, message: string) => apply(text, false, message)))(text, message)
      .then(async (done) => {
        setMessage("");
        // What is stored is read before the draft goes: else what was would be back for a moment.
        await client.invalidateQueries();
        setTold(`Applied: ${done.items.map((item) => `${item.kind} ${item.namespace}/${item.name} ${item.change}`).join(", ")}`);
        applied();
      })
      .catch(setFailed)
      .finally(() => setBusy(false));
  };
  const editor = (
    <Suspense fallback={<Loading />}>
      <Editor value={text} label="YAML" change={setText} findings={run.findings} readOnly={readOnly} check={() => ask(asked + 1)} apply={send} />
    </Suspense>
  );
  const outcome = (
    <div className="min-h-0 overflow-auto">
      {readOnly ? <p className="p-4 text-soft">Nothing can be changed here, so nothing is checked.</p> : <DryRunPane run={run} />}
      {failed !== null && <div className="px-4 pb-4"><ProblemBox error={failed} /></div>}
      <p className="px-4 pb-4 text-ok" role="status">{told}</p>
    </div>
  );
  return (
    <div className="panel overflow-hidden">
      {form ? (
        <div className="grid lg:grid-cols-[minmax(0,3fr)_minmax(280px,2fr)]">
          <div className="border-line max-lg:border-b lg:border-r">{form}</div>
          {outcome}
        </div>
      ) : (
        <div className="grid min-h-[440px] lg:h-[calc(100vh-330px)] lg:grid-cols-[minmax(0,3fr)_minmax(280px,2fr)]">
          <div className="min-h-[320px] min-w-0 border-line max-lg:border-b lg:border-r">{editor}</div>
          {outcome}
        </div>
      )}
      {!readOnly && (
        <div className="flex flex-wrap items-center gap-2 border-t border-line p-3">
          <Message value={message} set={setMessage} />
          <CopyAs cli={`weft apply -f - <<'YAML'\n${text}YAML`} path="/_apply" options={{ method: "POST", text }} />
          {changed && before && <span className="text-soft">Not applied yet</span>}
          <button type="button" className="button" disabled={!changed} onClick={() => setText(before)}>
            <Icon name="undo" size={14} /> Discard
          </button>
          <button type="button" className="button" onClick={() => ask(asked + 1)} title="⌘ S">
            Check
          </button>
          <button type="button" className="button primary" disabled={run.state !== "valid" || busy || !changed} onClick={send} title="⌘ ⏎">
            {busy ? "Applying…" : "Apply"}
          </button>
        </div>
      )}
      {form && <div className="h-[400px] border-t border-line">{editor}</div>}
    </div>
  );
}

function Delete({ resource, close, done }: { resource: Resource; close: () => void; done: () => void }) {
  const [failed, setFailed] = useState<unknown>(null);
  const [message, setMessage] = useState("");
  const path = `/${pluralOf(resource.kind)}/${resource.namespace}/${resource.name}`;
  const headers = { "if-match": `"${resource.revision}"` };
  const remove = () => {
    call(path, { method: "DELETE", headers, query: { message } }).then(done).catch(setFailed);
  };
  return (
    <Dialog title={`Delete ${resource.kind} ${resource.name}?`} close={close}>
      <div className="grid gap-4">
        <p>The proxies that it concerns go on without it at once. The history keeps it, so it can be brought back.</p>
        {failed !== null && <ProblemBox error={failed} />}
        <Message value={message} set={setMessage} />
        <div className="flex justify-end gap-2">
          <CopyAs cli={`weft delete ${resource.kind.toLowerCase()} ${resource.name} -n ${resource.namespace}`} path={path} options={{ method: "DELETE", headers }} />
          <button type="button" className="button" onClick={close}>Keep it</button>
          <button type="button" className="button danger" onClick={remove}>Delete</button>
        </div>
      </div>
    </Dialog>
  );
}

/** Writes over the revision that was seen, and over no other. A text that is not this object alone is applied as it is. */
function saver(path: string, resource: Resource, base: number) {
  return (text: string, message: string): Promise<Applied> => {
    const [one, ...more] = fromYaml(text) ?? [];
    const same = one && more.length === 0 && one.kind === resource.kind && one.metadata?.name === resource.name && (one.metadata.namespace ?? resource.namespace) === resource.namespace;
    if (!same) return apply(text, false, message);
    return call<Outcome>(path, { method: "PUT", text, query: { message }, headers: { "if-match": `"${base}"` } }).then((item) => ({ items: [item] }));
  };
}

/** With its namespace said where that is not the usual one, so that it is applied to where it was read. */
export function placed({ object, namespace }: Resource): Manifest {
  if (namespace === "default") return object;
  return { ...object, metadata: { ...object.metadata, name: object.metadata.name, namespace: object.metadata.namespace ?? namespace } };
}

export default function ObjectPage() {
  const { kind = "", namespace = "", name = "" } = useParams();
  const path = `/${kind}/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
  const resource = useGet<Resource>(path);
  const [, go] = useLocation();
  const kept = useKept();
  const [deleting, setDeleting] = useState(false);
  const denied = useCan("write", KINDS.find((each) => each.plural === kind)?.kind, namespace);
  const stored = resource.data ? toYaml([placed(resource.data)]) : "";
  const { text: draft, base, set } = useDraft(path);
  const revision = resource.data?.revision ?? 0;
  const edit = (text: string) => {
    set(text === stored ? null : text, draft === null ? revision : base);
  };
  const text = draft ?? stored;
  const overtaken = draft !== null && revision !== base;
  const owner = resource.data ? ownerOf(resource.data) : null;
  const elsewhere = owner && owner.word !== "API";
  const readOnly = Boolean(elsewhere || denied);
  return (
    <Page
      title={name}
      about={resource.data && `${resource.data.kind} in namespace ${namespace}${resource.data.revision ? `, revision ${resource.data.revision}` : ""}`}
      actions={
        <>
          <CopyAs cli={`weft get ${kind} ${name} -n ${namespace} -o yaml`} path={path} />
          {!readOnly && resource.data && (
            <button type="button" className="button danger" onClick={() => setDeleting(true)}>Delete</button>
          )}
        </>
      }
    >
      <View of={resource}>
        {(resource) => (
          <>
            {elsewhere && (
              <ReadOnly>
                {owner.word === "file" ? <>This lives in the file <code className="mono">{owner.where}</code>: change it there, and the mesh follows.</> : <>This lives in the cluster {owner.where}: <code className="mono">{`kubectl -n ${namespace} edit ${resource.kind.toLowerCase()} ${name}`}</code></>}
              </ReadOnly>
            )}
            {!elsewhere && denied && <ReadOnly>{denied}</ReadOnly>}
            {overtaken && (
              <div className="mb-3 flex flex-wrap items-center gap-3 rounded-md bg-warn-soft px-3 py-2 text-warn" role="status">
                <span className="flex-1">{`Somebody changed this meanwhile: you began with revision ${base}, and it is at ${revision} now. Applying is refused until you take that.`}</span>
                <button type="button" className="button small" onClick={() => set(null)}>
                  Take theirs
                </button>
              </div>
            )}
            <Tabs
              tabs={[
                { key: "edit", title: readOnly ? "YAML" : "Edit", body: () => <EditPane text={text} setText={edit} before={stored} readOnly={readOnly} applied={() => set(null)} save={saver(path, resource, draft === null ? revision : base)} /> },
                {
                  key: "diff",
                  title: "Difference",
                  body: () => (text === stored ? <p className="panel p-4 text-soft">Nothing is changed: what is stored is what is in the editor.</p> : <div className="panel overflow-hidden"><Suspense fallback={<Loading />}><Compare before={stored} after={text} /></Suspense></div>),
                },
                { key: "history", title: "History", body: () => <HistoryOf kind={resource.kind} namespace={namespace} name={name} readOnly={readOnly} /> },
              ]}
            />
            {deleting && <Delete resource={resource} close={() => setDeleting(false)} done={() => go(kept("/config"))} />}
          </>
        )}
      </View>
    </Page>
  );
}

export function NewPage() {
  const [template, setTemplate] = useState(TEMPLATES[0]?.name ?? "");
  const initial = TEMPLATES.find((each) => each.name === template)?.text ?? "";
  const { text: draft, set } = useDraft(NEW);
  const [, go] = useLocation();
  const kept = useKept();
  const denied = useCan("write", "VirtualService");
  return (
    <Page
      title="New configuration"
      about="One or more documents; all are applied, or none."
      actions={
        <label className="flex items-center gap-2">
          <span className="text-soft">Begin with</span>
          <select className="field" value={template} onChange={(event) => { set(null); setTemplate(event.target.value); }}>
            {TEMPLATES.map((each) => (
              <option key={each.name}>{each.name}</option>
            ))}
          </select>
        </label>
      }
    >
      {denied && <ReadOnly>{denied}</ReadOnly>}
      <EditPane text={draft ?? initial} setText={set} before="" readOnly={Boolean(denied)} applied={() => { set(null); go(kept("/config")); }} />
    </Page>
  );
}
