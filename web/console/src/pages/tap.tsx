import { useEffect, useRef, useState } from "react";
import { useCan } from "../api/can";
import { quote } from "../api/client";
import { readEvents } from "../api/hooks";
import { clock, milliseconds } from "../lib/format";
import { CopyAs } from "../ui/copy";
import { Panel } from "../ui/page";
import { ProblemBox, ReadOnly } from "../ui/states";
import { Badge } from "../ui/status";
import { type Column, Table } from "../ui/table";

interface Request {
  at: number;
  source: string;
  destination: string;
  method: string;
  path: string;
  status: number | null;
  duration_ms: number;
  flags: string | null;
  mtls: boolean;
}

type Row = Request & { key: string };

const KEPT = 100;

const COLUMNS: Column<Row>[] = [
  { key: "at", header: "When", cell: (row) => <span className="tabular-nums">{clock(row.at).slice(11)}</span> },
  { key: "source", header: "From", cell: (row) => row.source },
  { key: "destination", header: "To", cell: (row) => row.destination },
  { key: "request", header: "Request", cell: (row) => <span className="mono break-all">{`${row.method} ${row.path}`}</span> },
  { key: "status", header: "Status", cell: (row) => <Badge tone={!row.status || row.status >= 500 ? "bad" : row.status >= 400 ? "warn" : "ok"}>{[row.status, row.flags].filter((each) => each && each !== "-").join(" ")}</Badge> },
  { key: "took", header: "Took", right: true, cell: (row) => milliseconds(row.duration_ms) },
  { key: "mtls", header: "mTLS", cell: (row) => (row.mtls ? "yes" : "no") },
];

/** Requests of a proxy as they end. Nothing is kept of them anywhere but here. */
export function Tap({ proxy }: { proxy: string }) {
  const [on, setOn] = useState(false);
  const [match, setMatch] = useState("");
  const [rows, setRows] = useState<Row[]>([]);
  const [failed, setFailed] = useState<unknown>(null);
  const count = useRef(0);
  const denied = useCan("tap");
  useEffect(() => {
    if (!on) return undefined;
    const stop = new AbortController();
    setFailed(null);
    readEvents("/tap", { proxy, match, rate: 10 }, stop.signal, ({ event, data }) => {
      if (event !== "request") return;
      count.current += 1;
      const row: Row = { ...(JSON.parse(data) as Request), key: String(count.current) };
      setRows((before) => [row, ...before].slice(0, KEPT));
    })
      .then(() => setOn(false))
      .catch((error: unknown) => {
        if (stop.signal.aborted) return;
        setFailed(error);
        setOn(false);
      });
    return () => stop.abort();
  }, [on, proxy, match]);
  return (
    <div className="grid gap-4">
      {denied && <ReadOnly>{denied}</ReadOnly>}
      {failed !== null && <ProblemBox error={failed} />}
      <Panel
        flush
        title="Live requests"
        actions={
          <>
            <input className="field mono w-72" aria-label="Only requests that match" placeholder="status=5xx, path=/api/*" value={match} disabled={on} onChange={(event) => setMatch(event.target.value)} />
            <CopyAs cli={`weft tap ${proxy}${match ? ` --match ${quote(match)}` : ""}`} path="/tap" options={{ query: { proxy, match } }} />
            <button type="button" className="button primary" disabled={denied !== null} title={denied ?? undefined} aria-pressed={on} onClick={() => setOn(!on)}>
              {on ? "Stop" : "Watch"}
            </button>
          </>
        }
      >
        {rows.length === 0 ? (
          <p className="p-4 text-soft" role="status">{on ? "Waiting for the next request…" : "Watch shows ten requests a second at most, without the headers that hold secrets. Nothing is kept."}</p>
        ) : (
          <Table label="Live requests" rows={rows} columns={COLUMNS} id={(row) => row.key} param="tapped" />
        )}
      </Panel>
    </div>
  );
}
