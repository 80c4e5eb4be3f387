import { useGet } from "../api/hooks";
import type { List, Overview, Proxy } from "../api/types";
import { ago, clock, plural, until } from "../lib/format";
import { useKept } from "../lib/params";
import { CopyAs } from "../ui/copy";
import { Facts, Figure, Page, Panel } from "../ui/page";
import { Partial, View } from "../ui/states";
import { Badge, Status } from "../ui/status";
import { Table } from "../ui/table";
import { Sync, syncOf } from "./proxies";

interface Authority {
  live_certificates: number;
}

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

function Types({ proxies }: { proxies: Proxy[] }) {
  const names = [...new Set(proxies.flatMap((proxy) => Object.keys(proxy.types)))].sort();
  const of = (name: string, is: (state: string) => boolean) => proxies.filter((proxy) => is(proxy.types[name]?.state ?? "")).length;
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
          { key: "nack", header: "Refused", right: true, cell: (name) => { const count = of(name, (state) => state.startsWith("NACK")); return count > 0 ? <Badge tone="bad">{count}</Badge> : 0; } },
          { key: "resources", header: "Resources", right: true, cell: (name) => proxies.reduce((all, proxy) => all + (proxy.types[name]?.resources ?? 0), 0) },
        ]}
      />
    </Panel>
  );
}

export default function ControlPlanePage() {
  const overview = useGet<Overview>("/overview");
  const proxies = useGet<List<Proxy>>("/proxies", { limit: 1000 });
  const authority = useGet<Authority>("/ca");
  return (
    <Page title="Control plane" about="What it knows, what it sends, and who runs on what." actions={<CopyAs cli="weft version" path="/overview" />}>
      <View of={overview}>
        {({ mesh, certificates, registries }) => {
          const items = proxies.data?.items ?? [];
          const missing = [proxies.isError && "the proxies", authority.isError && "the authority"].filter((name) => name !== false);
          const versions = byVersion(items);
          const own = `weft/${mesh.version}`;
          return (
            <div className="grid gap-4">
              <Partial answered={3 - missing.length} total={3} missing={missing} />
              <div className="grid grid-cols-2 gap-3 lg:grid-cols-4">
                <Figure name="Connected proxies" value={proxies.data ? items.length : "–"} note={proxies.data && <Badge tone={items.some((proxy) => syncOf(proxy) === "nack") ? "bad" : items.some((proxy) => syncOf(proxy) === "stale") ? "warn" : "ok"}>{`${items.filter((proxy) => syncOf(proxy) === "synced").length} synced`}</Badge>} />
                <Figure name="Versions of proxies" value={proxies.data ? versions.length : "–"} note={proxies.data && (versions.some(({ version }) => version !== own) ? <Badge tone="warn">other than {mesh.version}</Badge> : <Badge tone="ok">the same</Badge>)} />
                <Figure name="Certificates in force" value={authority.data?.live_certificates ?? "–"} />
                <Figure name="Registries" value={registries.length} note={<Badge tone={registries.every((registry) => registry.state === "synced") ? "ok" : "warn"}>{`${registries.filter((registry) => registry.state === "synced").length} synced`}</Badge>} />
              </div>
              <div className="grid items-start gap-4 lg:grid-cols-2">
                <Panel title="This control plane">
                  <Facts
                    rows={[
                      ["Version", mesh.version],
                      ["Trust domain", mesh.trust_domain],
                      ["Started", `${clock(mesh.started_at)} (${ago(mesh.started_at)})`],
                      ["Root ends", certificates.root_not_after ? `${clock(certificates.root_not_after)} (${until(certificates.root_not_after)})` : "–"],
                    ]}
                  />
                </Panel>
                <Panel title="Proxies by version" flush>
                  <Table
                    label="Proxies by version"
                    rows={versions}
                    id={(row) => row.version}
                    param="versions"
                    columns={[
                      { key: "version", header: "Version", cell: (row) => <span className="font-medium">{row.version}</span> },
                      { key: "count", header: "Proxies", right: true, cell: (row) => row.count },
                      { key: "skew", header: "Beside this one", cell: (row) => (row.version === own ? <Badge tone="ok">the same</Badge> : <Badge tone="warn">another</Badge>) },
                    ]}
                  />
                </Panel>
                {proxies.data && <Types proxies={items} />}
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
              <View of={proxies}>{({ items }) => <Delivery proxies={items} />}</View>
            </div>
          );
        }}
      </View>
    </Page>
  );
}
