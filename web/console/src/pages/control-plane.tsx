import { useGet } from "../api/hooks";
import type { ControlPlane, List, Overview, Proxy } from "../api/types";
import { ago, clock, milliseconds, plural, until } from "../lib/format";
import { useKept } from "../lib/params";
import { CopyAs } from "../ui/copy";
import { Facts, Figure, Page, Panel } from "../ui/page";
import { Partial, View } from "../ui/states";
import { Badge, Status } from "../ui/status";
import { Table } from "../ui/table";
import { LogLevel } from "./log-level";
import { Sync, syncOf } from "./proxies";
import { RotationPanel, useAuthority } from "./rotation";

/** How many proxies run on which version. */
export function byVersion(proxies: Proxy[]): { version: string; count: number }[] {
  const counts = new Map<string, number>();
  for (const proxy of proxies) counts.set(proxy.version, (counts.get(proxy.version) ?? 0) + 1);
  return [...counts].map(([version, count]) => ({ version, count })).sort((a, b) => b.count - a.count);
}

function Delivery({ proxies }: { proxies: Proxy[] }) {
  const kept = useKept();
  const behind = proxies.filter((proxy) => syncOf(proxy) !== "synced");
  return (
    <Panel title="Proxies that are not in step" flush>
      {behind.length === 0 ? (
        <p className="p-4 text-soft">Every connected proxy runs on what it was sent.</p>
      ) : (
        <Table
          label="Proxies that are not in step"
          rows={behind}
          id={(row) => row.node}
          href={(row) => kept(`/proxies/${encodeURIComponent(row.id)}?tab=events`)}
          order="id"
          param="behind"
          columns={[
            { key: "id", header: "Proxy", sort: (row) => row.id, cell: (row) => row.id },
            { key: "sync", header: "Configuration", cell: (row) => <Sync proxy={row} /> },
            { key: "why", header: "Its words", cell: (row) => Object.values(row.types).map((type) => type.error).filter(Boolean).join("; ") || "–" },
          ]}
        />
      )}
    </Panel>
  );
}

function Types({ proxies, self }: { proxies: Proxy[]; self: ControlPlane | undefined }) {
  const names = [...new Set([...proxies.flatMap((proxy) => Object.keys(proxy.types)), ...(self?.pushes.types.filter((type) => type.sent > 0).map((type) => type.type) ?? [])])].sort();
  const of = (name: string, is: (state: string) => boolean) => proxies.filter((proxy) => is(proxy.types[name]?.state ?? "")).length;
  const pushed = (name: string) => self?.pushes.types.find((type) => type.type === name);
  return (
    <Panel title="Delivery by type" flush>
      <Table
        label="Delivery by type"
        rows={names}
        id={(name) => name}
        param="types"
        columns={[
          { key: "type", header: "Type", cell: (name) => <span className="font-medium">{name}</span> },
          { key: "synced", header: "Synced", right: true, cell: (name) => of(name, (state) => state === "SYNCED") },
          { key: "stale", header: "On their way", right: true, cell: (name) => of(name, (state) => state === "STALE") },
          { key: "nack", header: "Refuse now", right: true, cell: (name) => { const count = of(name, (state) => state.startsWith("NACK")); return count > 0 ? <Badge tone="bad">{count}</Badge> : 0; } },
          { key: "resources", header: "Resources", right: true, cell: (name) => proxies.reduce((all, proxy) => all + (proxy.types[name]?.resources ?? 0), 0) },
          { key: "sent", header: "Sent since start", right: true, cell: (name) => pushed(name)?.sent ?? "–" },
          { key: "refused", header: "Refused since start", right: true, cell: (name) => pushed(name)?.refused ?? "–" },
        ]}
      />
    </Panel>
  );
}

/** How a control plane keeps its state, in an operator's words. */
const STORES: Record<string, string> = {
  embedded: "embedded, of this control plane alone",
  shared: "shared (etcd): other control planes may serve on it; all of them do, none leads",
};

export default function ControlPlanePage() {
  const overview = useGet<Overview>("/overview");
  const proxies = useGet<List<Proxy>>("/proxies", { limit: 1000 });
  const authority = useAuthority();
  const self = useGet<ControlPlane>("/control-plane", undefined, 10_000);
  return (
    <Page title="Control plane" about="What it knows, what it sends, and who runs on what." actions={<CopyAs cli="weft version" path="/control-plane" />}>
      <View of={overview}>
        {({ mesh, certificates, registries }) => {
          const items = proxies.data?.items ?? [];
          const missing = [proxies.isError && "the proxies", authority.isError && "the authority", self.isError && "its own figures"].filter((name) => name !== false);
          const versions = byVersion(items);
          const own = `weft/${mesh.version}`;
          const synced = items.filter((proxy) => syncOf(proxy) === "synced").length;
          const pushes = self.data?.pushes;
          return (
            <div className="grid gap-4">
              {missing.length > 0 && <Partial answered={4 - missing.length} total={4} missing={missing} />}
              <div className="grid grid-cols-2 gap-3 md:grid-cols-3 xl:grid-cols-6">
                <Figure name="Connected proxies" value={proxies.data ? items.length : "–"} note={proxies.data && <Badge tone={items.some((proxy) => syncOf(proxy) === "nack") ? "bad" : synced < items.length ? "warn" : "ok"}>{`${synced} acknowledged`}</Badge>} />
                <Figure name="Push, p50" value={milliseconds(pushes?.p50_ms)} note={pushes && plural(pushes.count, "push", "pushes")} />
                <Figure name="Push, p99" value={milliseconds(pushes?.p99_ms)} note={pushes && `p95 ${milliseconds(pushes.p95_ms)}`} />
                <Figure name="Configuration" value={self.data?.configuration.objects ?? "–"} note={self.data && (self.data.configuration.refused > 0 ? <Badge tone="warn">{`${self.data.configuration.refused} refused`}</Badge> : "objects")} />
                <Figure name="Certificates in force" value={authority.data?.live_certificates ?? "–"} note={self.data && (self.data.issuance.refused > 0 ? <Badge tone="warn">{`${self.data.issuance.refused} refused`}</Badge> : `${self.data.issuance.signed} signed`)} />
                <Figure name="Registries" value={registries.length} note={<Badge tone={registries.every((registry) => registry.state === "synced") ? "ok" : "warn"}>{`${registries.filter((registry) => registry.state === "synced").length} synced`}</Badge>} />
              </div>
              <div className="grid items-start gap-4 lg:grid-cols-2">
                <Panel title="This control plane">
                  <Facts
                    rows={[
                      ["Version", mesh.version],
                      ["Trust domain", mesh.trust_domain],
                      ["Started", `${clock(mesh.started_at)} (${ago(mesh.started_at)})`],
                      ["Store", self.data ? (STORES[self.data.store.kind] ?? self.data.store.kind) : "–"],
                      ["Log level", <LogLevel key="log" of="/control-plane" />],
                      ["Root ends", certificates.root_not_after ? `${clock(certificates.root_not_after)} (${until(certificates.root_not_after)})` : "–"],
                    ]}
                  />
                </Panel>
                <div className="grid gap-4">
                  <Panel title="Proxies by version" flush>
                    <Table
                      label="Proxies by version"
                      rows={versions}
                      id={(row) => row.version}
                      param="versions"
                      columns={[
                        { key: "version", header: "Version", cell: (row) => <span className="font-medium">{row.version}</span> },
                        { key: "count", header: "Proxies", right: true, cell: (row) => row.count },
                        { key: "acknowledged", header: "Acknowledged", right: true, cell: (row) => items.filter((proxy) => proxy.version === row.version && syncOf(proxy) === "synced").length },
                        { key: "skew", header: "Beside this one", cell: (row) => (row.version === own ? <Badge tone="ok">the same</Badge> : <Badge tone="warn">another</Badge>) },
                      ]}
                    />
                  </Panel>
                  <Panel title={plural(registries.length, "registry", "registries")} flush>
                    <Table
                      label="Registries"
                      rows={registries}
                      id={(row) => row.name}
                      param="registries"
                      columns={[
                        { key: "name", header: "Registry", cell: (row) => <span className="font-medium">{row.name}</span> },
                        { key: "state", header: "State", cell: (row) => <Status word={row.state} /> },
                        { key: "services", header: "Services", right: true, cell: (row) => row.services },
                        { key: "endpoints", header: "Endpoints", right: true, cell: (row) => row.endpoints },
                      ]}
                    />
                  </Panel>
                </div>
              </div>
              {authority.data && <RotationPanel authority={authority.data} />}
              {proxies.data && <Types proxies={items} self={self.data} />}
              <View of={proxies} rows={3}>{({ items }) => <Delivery proxies={items} />}</View>
            </div>
          );
        }}
      </View>
    </Page>
  );
}
