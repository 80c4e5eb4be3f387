import { useCan } from "../api/can";
import { useGet } from "../api/hooks";
import type { List, Revision } from "../api/types";
import { matches } from "../lib/filter";
import { ago, clock, plural } from "../lib/format";
import { useParam } from "../lib/params";
import { CopyAs } from "../ui/copy";
import { Download } from "../ui/download";
import { Filter, Page, Panel, Tabs } from "../ui/page";
import { EmptyFiltered, EmptyFirst, View } from "../ui/states";
import { Badge } from "../ui/status";
import { type Column, Table } from "../ui/table";
import { Revisions } from "./config/history";

interface Entry {
  seq: number;
  at: number;
  actor: string;
  method: string;
  ip?: string;
  verb: string;
  object: string;
  revision_after?: number;
  dry_run?: boolean;
  result: string;
  detail?: string;
  hash: string;
}

interface Verified {
  ok: boolean;
  entries: number;
  head: string;
  broken?: { line?: number; reason?: string } | null;
}

const COLUMNS: Column<Entry>[] = [
  { key: "seq", header: "No.", right: true, sort: (row) => row.seq, cell: (row) => row.seq },
  { key: "at", header: "When", className: "whitespace-nowrap", sort: (row) => row.at, cell: (row) => <span title={clock(row.at)}>{ago(row.at)}</span> },
  { key: "actor", header: "Who", sort: (row) => row.actor, cell: (row) => row.actor || "–" },
  { key: "method", header: "By", className: "whitespace-nowrap", cell: (row) => [row.method, row.ip].filter(Boolean).join(", ") },
  { key: "verb", header: "Did", className: "whitespace-nowrap", sort: (row) => row.verb, cell: (row) => (row.dry_run ? `${row.verb} (dry run)` : row.verb) },
  { key: "object", header: "What", sort: (row) => row.object, cell: (row) => <span className="break-words">{row.object}{row.detail ? <span className="text-soft"> · {row.detail}</span> : null}</span> },
  { key: "revision", header: "Revision", right: true, cell: (row) => row.revision_after ?? "–" },
  { key: "result", header: "Result", sort: (row) => row.result, cell: (row) => <Badge tone={row.result === "done" ? "ok" : "bad"}>{row.result === "done" ? "done" : `refused ${row.result}`}</Badge> },
];

function Whole() {
  const verified = useGet<Verified>("/audit/_verify", undefined, 60_000);
  if (!verified.data) return null;
  const { ok, entries, broken } = verified.data;
  return ok ? (
    <Badge tone="ok" icon="lock" title={verified.data.head}>{`unbroken over ${plural(entries, "entry", "entries")}`}</Badge>
  ) : (
    <Badge tone="bad">{`changed by somebody${broken?.line ? ` at line ${broken.line}` : ""}`}</Badge>
  );
}

function Audit() {
  const audit = useGet<List<Entry>>("/audit", { limit: 1000 });
  const [filter, setFilter] = useParam("filter");
  return (
    <div className="panel overflow-hidden">
      <View of={audit}>
        {({ items }) => {
          if (items.length === 0) return <EmptyFirst icon="activity" title="Nothing was done yet" />;
          const found = items.filter((row) => matches(filter, { actor: row.actor, verb: row.verb, object: row.object, result: row.result, ip: row.ip ?? "" }));
          return (
            <>
              <Filter value={filter} set={setFilter} label="Filter the audit log">
                <span className="text-soft">{plural(found.length, "entry", "entries")}</span>
                <Whole />
                <Download name="weft-audit.json" label="Export" of={() => found} />
              </Filter>
              {found.length === 0 ? <EmptyFiltered what="entries" clear={() => setFilter("")} /> : <Table label="Audit log" rows={found} columns={COLUMNS} id={(row) => String(row.seq)} order="-seq" param="audit" />}
            </>
          );
        }}
      </View>
    </div>
  );
}

function Changes() {
  const history = useGet<List<Revision>>("/history", { limit: 1000 });
  const denied = useCan("write");
  const [filter, setFilter] = useParam("filter");
  const found = (items: Revision[]) => items.filter(({ author, message, changes }) => matches(filter, { who: author, why: message, what: changes.map((each) => `${each.kind} ${each.namespace}/${each.name} ${each.change}`).join(" ") }));
  return (
    <Panel title="Revisions of the configuration" flush>
      <View of={history}>
        {({ items }) =>
          items.length === 0 ? (
            <EmptyFirst icon="clock" title="No change yet">
              <p>Each change made through the API becomes a revision that can be gone back to.</p>
            </EmptyFirst>
          ) : (
            <>
              <Filter value={filter} set={setFilter} label="Filter changes">
                <span className="text-soft">{plural(found(items).length, "revision")}</span>
                <Download name="weft-history.json" label="Export" of={() => found(items)} />
              </Filter>
              {found(items).length === 0 ? <EmptyFiltered what="revisions" clear={() => setFilter("")} /> : <Revisions items={found(items)} newest={Math.max(...items.map((item) => item.revision))} readOnly={denied !== null} />}
            </>
          )
        }
      </View>
    </Panel>
  );
}

export default function ActivityPage() {
  return (
    <Page title="Activity" about="What was changed, by whom, and what was refused." actions={<CopyAs cli="weft history" path="/audit" />}>
      <Tabs
        tabs={[
          { key: "changes", title: "Changes", body: () => <Changes /> },
          { key: "audit", title: "Audit log", body: () => <Audit /> },
        ]}
      />
    </Page>
  );
}
