import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { type Call, call, quote } from "../../api/client";
import { useGet } from "../../api/hooks";
import { useCan } from "../../api/can";
import type { List, Revision } from "../../api/types";
import { ago, clock, plural } from "../../lib/format";
import { CopyAs } from "../../ui/copy";
import { Dialog } from "../../ui/dialog";
import { EmptyFirst, ProblemBox, View } from "../../ui/states";
import { Badge } from "../../ui/status";
import { type Column, Table } from "../../ui/table";

type Named = { kind: string; namespace: string; name: string };

/** A way back: to which revision, of one object or of all that was changed since, and what it would do. */
interface Plan {
  title: string;
  body: { revision: number; object?: Named };
  would?: { changes: unknown[]; diff: string };
}

/** What takes back a change and nothing else: it must be of one object, or the newest. */
export function undoing(found: Revision, newest: boolean, only?: Named): Plan["body"] | null {
  const revision = found.revision - 1;
  const [one, ...more] = found.changes;
  const object = only ?? (more.length === 0 ? one : undefined);
  if (object) return { revision, object: { kind: object.kind, namespace: object.namespace, name: object.name } };
  return newest ? { revision } : null;
}

const COLUMNS: Column<Revision>[] = [
  { key: "revision", header: "Revision", sort: (row) => row.revision, cell: (row) => `${row.revision}` },
  { key: "at", header: "When", className: "whitespace-nowrap", sort: (row) => row.at, cell: (row) => <span title={clock(row.at)}>{ago(row.at)}</span> },
  { key: "author", header: "Who", sort: (row) => row.author, cell: (row) => row.author },
  { key: "message", header: "Why", cell: (row) => row.message || <span className="text-soft">–</span> },
  {
    key: "changes",
    header: "What",
    cell: (row) => (
      <span className="flex flex-wrap gap-1">
        {row.changes.slice(0, 4).map((change) => (
          <Badge key={`${change.kind} ${change.namespace} ${change.name}`} tone={change.change === "deleted" ? "warn" : "info"} icon={change.change === "created" ? "plus" : change.change === "deleted" ? "close" : "edit"}>
            {change.kind} {change.namespace}/{change.name} {change.change}
          </Badge>
        ))}
        {row.changes.length > 4 && <span className="text-soft">and {row.changes.length - 4} more</span>}
      </span>
    ),
  },
];

/** A unified diff: added and removed lines have their sign, and a colour beside it. */
export function Diff({ text }: { text: string }) {
  return (
    <pre className="code" tabIndex={0} aria-label="Difference">
      {text.split("\n").map((line, at) => {
        const tone = line.startsWith("+") ? "bg-ok-soft text-ok" : line.startsWith("-") ? "bg-bad-soft text-bad" : line.startsWith("@@") ? "text-accent" : "";
        return (
          <span key={at} className={`block ${tone}`}>
            {line || " "}
          </span>
        );
      })}
    </pre>
  );
}

export function RevisionDialog({ revision, newest, only, readOnly, close }: { revision: number; newest: boolean; only?: Named; readOnly: boolean; close: () => void }) {
  const found = useGet<Revision>(`/history/${revision}`);
  const client = useQueryClient();
  const [message, setMessage] = useState("");
  const [failed, setFailed] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [plan, setPlan] = useState<Plan | null>(null);
  const body = { ...plan?.body, message };
  const run = (options: Call, then: (answer: NonNullable<Plan["would"]>) => void) => {
    setBusy(true);
    setFailed(null);
    call<NonNullable<Plan["would"]>>("/_rollback", { method: "POST", ...options })
      .then(then)
      .catch(setFailed)
      .finally(() => setBusy(false));
  };
  const look = (title: string, body: Plan["body"]) => run({ body, query: { dryRun: "server" } }, (would) => setPlan({ title, body, would }));
  const back = () =>
    run({ body }, () => {
      void client.invalidateQueries();
      close();
    });
  return (
    <Dialog title={`Revision ${revision}`} close={close} wide>
      <View of={found}>
        {(found) => {
          const undo = undoing(found, newest, only);
          const diff = found.diff ?? found.changes.map((change) => change.diff ?? "").join("\n");
          return (
            <div className="grid gap-4">
              <p>
                <span className="font-medium">{found.author}</span>, {clock(found.at)} ({ago(found.at)}){found.message && `: ${found.message}`}
              </p>
              {diff.trim() ? <Diff text={diff.trimEnd()} /> : <p className="text-soft">This revision changed nothing in the objects.</p>}
              {failed !== null && <ProblemBox error={failed} />}
              {!readOnly && !plan && (
                <div className="flex flex-wrap items-center gap-2">
                  {undo && (
                    <button type="button" className="button" disabled={busy} onClick={() => look("Undo this change", undo)}>
                      Undo this change
                    </button>
                  )}
                  {!newest && (
                    <button type="button" className="button" disabled={busy} onClick={() => look(only ? "Bring this object back" : "Bring everything back", { revision, object: only })}>
                      {only ? "Bring this object back to here" : "Bring everything back to here"}
                    </button>
                  )}
                </div>
              )}
              {plan?.would && (
                <section className="grid gap-3 rounded-md bg-warn-soft p-3" aria-label="What it would do">
                  <h3 className="font-semibold">{plan.would.changes.length === 0 ? "That would change nothing: all is as it was then" : `That would change ${plural(plan.would.changes.length, "object")}, as a revision of its own`}</h3>
                  {plan.would.changes.length > 0 && <Diff text={plan.would.diff.trimEnd()} />}
                  <div className="flex flex-wrap items-center gap-2">
                    <input className="field min-w-40 flex-1" aria-label="Why, for the history" placeholder="Why (kept in the history)" value={message} onChange={(event) => setMessage(event.target.value)} />
                    <CopyAs cli={`weft rollback ${plan.body.object ? `${plan.body.object.kind}/${plan.body.object.namespace}/${plan.body.object.name}@` : ""}${plan.body.revision}${message ? ` -m ${quote(message)}` : ""}`} path="/_rollback" options={{ method: "POST", body }} />
                    <button type="button" className="button" onClick={() => setPlan(null)}>Leave it</button>
                    <button type="button" className="button primary" disabled={busy || plan.would.changes.length === 0} onClick={back}>{plan.title}</button>
                  </div>
                </section>
              )}
            </div>
          );
        }}
      </View>
    </Dialog>
  );
}

export function Revisions({ items, newest = Math.max(...items.map((item) => item.revision)), only, readOnly }: { items: Revision[]; newest?: number; only?: Named; readOnly: boolean }) {
  const [open, setOpen] = useState<number | null>(null);
  return (
    <>
      <Table label="Revisions" rows={items} columns={COLUMNS} id={(row) => String(row.revision)} onOpen={(row) => setOpen(row.revision)} order="-revision" param="revisions" />
      {open !== null && <RevisionDialog revision={open} newest={open >= newest} only={only} readOnly={readOnly} close={() => setOpen(null)} />}
    </>
  );
}

export function HistoryOf({ kind, namespace, name, readOnly }: { kind: string; namespace: string; name: string; readOnly: boolean }) {
  const history = useGet<List<Revision>>("/history", { kind, namespace, name });
  const denied = useCan("write", kind, namespace);
  return (
    <div className="panel overflow-hidden">
      <View of={history}>
        {({ items }) =>
          items.length === 0 ? (
            <EmptyFirst icon="clock" title="No history">
              <p>Only what is changed by the API has one; a file or a cluster keeps its own.</p>
            </EmptyFirst>
          ) : (
            <>
              <p className="border-b border-line px-4 py-3 text-soft">{plural(items.length, "revision")}; open one to see what it changed, or to go back to it.</p>
              <Revisions items={items} only={{ kind, namespace, name }} readOnly={readOnly || denied !== null} />
            </>
          )
        }
      </View>
    </div>
  );
}
