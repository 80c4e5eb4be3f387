import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, quote } from "../../api/client";
import { useGet } from "../../api/hooks";
import { useCan } from "../../api/can";
import type { List, Revision } from "../../api/types";
import { ago, clock, plural } from "../../lib/format";
import { CopyAs } from "../../ui/copy";
import { Dialog } from "../../ui/dialog";
import { EmptyFirst, ProblemBox, View } from "../../ui/states";
import { Badge } from "../../ui/status";
import { type Column, Table } from "../../ui/table";

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

export function RevisionDialog({ revision, only, readOnly, close }: { revision: number; only?: { kind: string; namespace: string; name: string }; readOnly: boolean; close: () => void }) {
  const found = useGet<Revision>(`/history/${revision}`);
  const client = useQueryClient();
  const [message, setMessage] = useState("");
  const [failed, setFailed] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const body = { ...(only ? { object: only } : {}), revision, message };
  const back = () => {
    setBusy(true);
    call("/_rollback", { method: "POST", body })
      .then(() => {
        void client.invalidateQueries();
        close();
      })
      .catch(setFailed)
      .finally(() => setBusy(false));
  };
  return (
    <Dialog title={`Revision ${revision}`} close={close} wide>
      <View of={found}>
        {(found) => {
          const diff = found.diff ?? found.changes.map((change) => change.diff ?? "").join("\n");
          return (
            <div className="grid gap-4">
              <p>
                <span className="font-medium">{found.author}</span>, {clock(found.at)} ({ago(found.at)}){found.message && `: ${found.message}`}
              </p>
              {diff.trim() ? <Diff text={diff.trimEnd()} /> : <p className="text-soft">This revision changed nothing in the objects.</p>}
              {failed !== null && <ProblemBox error={failed} />}
              {!readOnly && (
                <div className="flex flex-wrap items-center gap-2">
                  <input className="field min-w-40 flex-1" aria-label="Why, for the history" placeholder="Why (kept in the history)" value={message} onChange={(event) => setMessage(event.target.value)} />
                  <CopyAs cli={`weft rollback ${only ? `${only.kind}/${only.namespace}/${only.name}@` : ""}${revision}${message ? ` -m ${quote(message)}` : ""}`} path="/_rollback" options={{ method: "POST", body }} />
                  <button type="button" className="button primary" disabled={busy} onClick={back}>
                    {only ? "Bring this object back to here" : "Bring everything back to here"}
                  </button>
                </div>
              )}
            </div>
          );
        }}
      </View>
    </Dialog>
  );
}

export function Revisions({ items, only, readOnly }: { items: Revision[]; only?: { kind: string; namespace: string; name: string }; readOnly: boolean }) {
  const [open, setOpen] = useState<number | null>(null);
  return (
    <>
      <Table label="Revisions" rows={items} columns={COLUMNS} id={(row) => String(row.revision)} onOpen={(row) => setOpen(row.revision)} order="-revision" param="revisions" />
      {open !== null && <RevisionDialog revision={open} only={only} readOnly={readOnly} close={() => setOpen(null)} />}
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
