import { useGraph } from "../api/graph";
import { useGet } from "../api/hooks";
import { useResources } from "../api/resources";
import type { GraphEdge, Identity, List, Resource } from "../api/types";
import { ago, clock, percent, plural, rate, until } from "../lib/format";
import { weighted } from "../lib/graph";
import { useKept } from "../lib/params";
import { CopyAs } from "../ui/copy";
import { Facts, Figure, Page, Panel, Tabs } from "../ui/page";
import { EmptyFirst, Loading, ProblemBox, Stale, View } from "../ui/states";
import { Badge, Mtls } from "../ui/status";
import { type Column, Table } from "../ui/table";
import { configPath } from "./config";
import { AllowedMatrix } from "./matrix";
import { RotationPanel, useAuthority } from "./rotation";

const EDGES: Column<GraphEdge>[] = [
  { key: "source", header: "From", sort: (edge) => edge.source, cell: (edge) => edge.source },
  { key: "destination", header: "To", sort: (edge) => edge.destination, cell: (edge) => edge.destination },
  { key: "mtls", header: "Encryption", sort: (edge) => edge.mtls_ratio, cell: (edge) => <Mtls ratio={edge.mtls_ratio} /> },
  { key: "rps", header: "Requests/s", right: true, sort: (edge) => edge.requests_per_second, cell: (edge) => rate(edge.requests_per_second) },
  { key: "denied", header: "Denied/s", right: true, sort: (edge) => edge.denied_per_second, cell: (edge) => ((edge.denied_per_second ?? 0) > 0 ? <Badge tone="bad">{rate(edge.denied_per_second)}</Badge> : "0") },
  { key: "caller", header: "Caller's identity", cell: (edge) => <span className="mono">{edge.principals?.source ?? "–"}</span> },
];

function Coverage() {
  const graph = useGraph();
  return (
    <View of={graph}>
      {({ edges }) => {
        const mtls = weighted(edges, (edge) => edge.mtls_ratio);
        const plain = edges.filter((edge) => edge.mtls_ratio !== null && edge.mtls_ratio < 0.999);
        const denied = edges.filter((edge) => (edge.denied_per_second ?? 0) > 0);
        return (
          <div className="grid gap-4">
            <div className="grid gap-3 sm:grid-cols-3">
              <Figure name="Traffic over mutual TLS" value={percent(mtls)} />
              <Figure name="Edges with plain text" value={plain.length} note={`of ${edges.length}`} />
              <Figure name="Edges that are denied" value={denied.length} />
            </div>
            <Panel title="Who talks to whom, and how" flush>
              {edges.length === 0 ? <EmptyFirst icon="security" title="No traffic in this time" /> : <Table label="Encryption by edge" rows={edges} columns={EDGES} id={(edge) => edge.id} order="mtls" />}
            </Panel>
          </div>
        );
      }}
    </View>
  );
}

const modeOf = (resource: Resource) => {
  const mtls = resource.object.spec?.mtls as { mode?: string } | undefined;
  return mtls?.mode ?? "PERMISSIVE";
};

function Modes() {
  const resources = useResources(["peerauthentications"]);
  const kept = useKept();
  const columns: Column<Resource>[] = [
    { key: "name", header: "Name", sort: (row) => row.name, cell: (row) => row.name },
    { key: "namespace", header: "Namespace", sort: (row) => row.namespace, cell: (row) => row.namespace },
    { key: "for", header: "Holds for", cell: (row) => (row.object.spec?.selector ? "selected workloads" : row.namespace === "istio-system" ? "the mesh" : "its namespace") },
    { key: "mode", header: "Mode", cell: (row) => <Badge tone={modeOf(row) === "STRICT" ? "ok" : "warn"} icon={modeOf(row) === "STRICT" ? "lock" : "unlock"}>{modeOf(row).toLowerCase()}</Badge> },
  ];
  // Nothing is said of what callers are asked before it is known.
  if (resources.error) return <ProblemBox error={resources.error} retry={resources.again} />;
  if (resources.pending) return <Loading />;
  return (
    <>
    {resources.stale !== null && <Stale since={resources.stale} />}
    <Panel title="What is asked of callers" flush>
      {resources.items.length === 0 ? (
        <EmptyFirst icon="lock" title="Permissive everywhere" command="weft apply -f examples/bookinfo/strict-mtls.yaml">
          <p>Between proxies traffic is mutual TLS by itself; callers outside of the mesh may still come in plain text until a PeerAuthentication says STRICT.</p>
        </EmptyFirst>
      ) : (
        <Table label="PeerAuthentications" rows={resources.items} columns={columns} id={(row) => `${row.namespace}/${row.name}`} href={(row) => kept(configPath(row))} order="namespace" param="modes" />
      )}
    </Panel>
    </>
  );
}

function Chain() {
  const authority = useAuthority();
  return (
    <View of={authority}>
      {(authority) => {
        const { trust_domain: domain, roots, live_certificates: live } = authority;
        return (
        <div className="grid gap-4">
          <div className="grid gap-3 sm:grid-cols-3">
            <Figure name="Trust domain" value={<span className="text-base">{domain}</span>} />
            <Figure name="Certificates in force" value={live} />
            <Figure name="Roots that are trusted" value={roots.length} />
          </div>
          <RotationPanel authority={authority} />
          {roots.map((root) => (
            <Panel key={root.fingerprint} title={root.subject || "Root"} actions={root.signs ? <Badge tone="ok" icon="lock">signs</Badge> : <Badge>trusted only</Badge>}>
              <Facts
                rows={[
                  ["Ends", `${clock(root.not_after)} (${until(root.not_after)})`],
                  ["Began", `${clock(root.not_before)} (${ago(root.not_before)})`],
                  ["Fingerprint", <code className="mono break-all">{root.fingerprint}</code>],
                  ["Serial", <code className="mono break-all">{root.serial}</code>],
                ]}
              />
            </Panel>
          ))}
        </div>
        );
      }}
    </View>
  );
}

const IDENTITIES: Column<Identity>[] = [
  { key: "id", header: "SPIFFE ID", sort: (row) => row.identity, cell: (row) => <span className="mono">{row.identity}</span> },
  { key: "workloads", header: "Workloads", right: true, sort: (row) => row.workloads.length, cell: (row) => <span title={row.workloads.join(", ")}>{row.workloads.length}</span> },
  { key: "proxies", header: "Proxies", right: true, sort: (row) => row.proxies.length, cell: (row) => <span title={row.proxies.join(", ")}>{row.proxies.length}</span> },
  { key: "certificate", header: "Certificate", sort: (row) => row.certificate?.state, cell: (row) => (row.certificate ? <Badge tone={row.certificate.state === "valid" ? "ok" : "bad"} icon="lock">{row.certificate.state}</Badge> : "–") },
  { key: "ends", header: "Ends", right: true, sort: (row) => row.certificate?.not_after, cell: (row) => until(row.certificate?.not_after) },
  { key: "attested", header: "Proved by", cell: (row) => row.certificate?.attested_by ?? "–" },
];

function Identities() {
  const identities = useGet<List<Identity>>("/identities", { limit: 1000 });
  return (
    <View of={identities}>
      {({ items }) => (
        <Panel title={plural(items.length, "identity", "identities")} flush>
          {items.length === 0 ? <EmptyFirst icon="security" title="Nobody has an identity yet" /> : <Table label="Identities" rows={items} id={(row) => row.identity} order="id" param="identities" columns={IDENTITIES} />}
        </Panel>
      )}
    </View>
  );
}

export default function SecurityPage() {
  return (
    <Page title="Security" about="Who is who, what is encrypted, and what is asked of callers." actions={<CopyAs path="/ca" />}>
      <Tabs
        tabs={[
          { key: "coverage", title: "Encryption", body: () => <Coverage /> },
          { key: "modes", title: "Modes", body: () => <Modes /> },
          { key: "allowed", title: "Allowed", body: () => <AllowedMatrix /> },
          { key: "identities", title: "Identities", body: () => <Identities /> },
          { key: "authority", title: "Authority", body: () => <Chain /> },
        ]}
      />
    </Page>
  );
}
