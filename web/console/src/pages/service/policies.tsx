import { Link } from "wouter";
import { useGet } from "../../api/hooks";
import type { Decision, Matrix, Service } from "../../api/types";
import { useKept } from "../../lib/params";
import { Panel } from "../../ui/page";
import { EmptyFirst, View } from "../../ui/states";
import { type Column, Table } from "../../ui/table";
import { DecisionBadge } from "../matrix";
import { Objects, type Shaping } from "./objects";

const SECURITY = ["AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"];

interface Allowed {
  identity: string;
  workloads: string[];
  port: number;
  decision: Decision;
  because: string;
}

const COLUMNS: Column<Allowed>[] = [
  { key: "caller", header: "Caller", className: "min-w-48", sort: (row) => row.identity, cell: (row) => <span className="mono">{row.identity}</span> },
  { key: "workloads", header: "Runs as", cell: (row) => row.workloads.join(", ") || "–" },
  { key: "port", header: "Port", right: true, sort: (row) => row.port, cell: (row) => row.port },
  { key: "decision", header: "May call", sort: (row) => row.decision, cell: (row) => <DecisionBadge decision={row.decision} /> },
  { key: "because", header: "Because", className: "min-w-64", cell: (row) => row.because },
];

/** The column of this service in the matrix of who may call whom, as rows. */
export function callersOf(matrix: Matrix, host: string): Allowed[] {
  return matrix.services.flatMap((service, at) => {
    if (service.host !== host) return [];
    return matrix.callers.flatMap(({ identity, workloads, cells }) => {
      const cell = cells[at];
      return cell ? [{ identity, workloads, port: service.port, ...cell }] : [];
    });
  });
}

export function PoliciesOf({ service, path }: { service: Service; path: string }) {
  const matrix = useGet<Matrix>("/_authz/matrix", { namespace: service.namespace });
  const shaping = useGet<{ items: Shaping[] }>(`${path}/_policies`);
  const kept = useKept();
  return (
    <div className="grid gap-4">
      <View of={matrix}>
        {(matrix) => {
          const rows = callersOf(matrix, service.host);
          return (
            <Panel title="Who may call it" flush actions={<Link href={kept("/security?tab=allowed")}>Whole mesh</Link>}>
              {rows.length === 0 ? (
                <EmptyFirst icon="security" title="Nobody enforces policies for it">
                  <p>None of its endpoints has a proxy of this mesh: who reaches the address may call it.</p>
                </EmptyFirst>
              ) : (
                <Table label="Who may call it" rows={rows} columns={COLUMNS} id={(row) => `${row.identity} ${row.port}`} order="caller" param="callers" />
              )}
            </Panel>
          );
        }}
      </View>
      <View of={shaping} rows={3}>
        {({ items }) => {
          const rules = items.filter((item) => SECURITY.includes(item.kind));
          return (
            <Panel title="Policies that hold for it" flush>
              {rules.length === 0 ? <p className="p-4 text-soft">None: every workload of the mesh may call it, and callers outside of it may come in plain text.</p> : <Objects items={rules} />}
            </Panel>
          );
        }}
      </View>
    </div>
  );
}
