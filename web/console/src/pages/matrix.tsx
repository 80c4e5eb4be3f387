import { useGet } from "../api/hooks";
import type { Decision, Matrix, MatrixRow } from "../api/types";
import { useScope } from "../lib/params";
import { Panel } from "../ui/page";
import { EmptyFirst, View } from "../ui/states";
import { Badge, type Tone } from "../ui/status";
import { type Column, Table } from "../ui/table";

const TONES: Record<Decision, Tone> = { allowed: "ok", denied: "bad", depends: "warn" };

export function DecisionBadge({ decision }: { decision: Decision }) {
  return <Badge tone={TONES[decision]}>{decision}</Badge>;
}

/** Who may call whom, by the policies. */
export function AllowedMatrix() {
  const [scope] = useScope();
  const matrix = useGet<Matrix>("/_authz/matrix", scope ? { namespace: scope } : {});
  return (
    <View of={matrix}>
      {({ callers, services }) => {
        const columns: Column<MatrixRow>[] = services.map((service, at) => ({
          key: `${service.host}:${service.port}`,
          header: `${service.host.split(".svc.")[0]}:${service.port}`,
          sort: (row) => row.cells[at]?.decision,
          cell: (row) => {
            const cell = row.cells[at];
            return cell ? <span title={cell.because}><DecisionBadge decision={cell.decision} /></span> : "–";
          },
        }));
        const caller: Column<MatrixRow> = {
          key: "caller",
          header: "Caller",
          sort: (row) => row.identity,
          cell: (row) => <span className="mono" title={row.workloads.join(", ")}>{row.identity}</span>,
        };
        return (
          <Panel title="Who may call whom" flush>
            {services.length === 0 ? <EmptyFirst icon="security" title="No service has a proxy yet" /> : <Table label="Who may call whom" rows={callers} columns={[caller, ...columns]} id={(row) => row.identity} order="caller" param="matrix" />}
          </Panel>
        );
      }}
    </View>
  );
}
