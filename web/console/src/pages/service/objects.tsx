import { Link } from "wouter";
import { useGet } from "../../api/hooks";
import { useKept } from "../../lib/params";
import { Panel } from "../../ui/page";
import { type Named, Resources } from "../../ui/resources";
import { EmptyFirst, View } from "../../ui/states";
import { Table } from "../../ui/table";
import { configPath } from "../config";

/** An object that has a say in how a service is reached. */
export interface Shaping {
  kind: string;
  namespace: string;
  name: string;
  shown_in: string[];
}

interface Told {
  seen_by: string | null;
  clusters: { name: string; resource: unknown }[];
  endpoints: { name: string; resource: unknown }[];
  virtual_hosts: { name?: string; route_table?: string }[];
}

export function Objects({ items }: { items: Shaping[] }) {
  const kept = useKept();
  return (
    <Table
      label="Objects"
      rows={items}
      id={(row) => `${row.kind} ${row.namespace}/${row.name}`}
      href={(row) => kept(configPath(row))}
      order="kind"
      param="objects"
      columns={[
        { key: "name", header: "Object", sort: (row) => row.name, cell: (row) => `${row.namespace}/${row.name}` },
        { key: "kind", header: "Kind", sort: (row) => row.kind, cell: (row) => row.kind },
        { key: "shown", header: "Says", cell: (row) => row.shown_in.join(", ") },
      ]}
    />
  );
}

function named({ clusters, endpoints, virtual_hosts: hosts }: Told): Named[] {
  return [
    ...clusters.map(({ name, resource }) => ({ type: "cluster", name, resource })),
    ...endpoints.map(({ name, resource }) => ({ type: "endpoints", name, resource })),
    ...hosts.map((host) => ({ type: "routes", name: `${host.name ?? ""} in ${host.route_table ?? "?"}`, resource: host })),
  ];
}

/** The objects that touch a service, and what proxies were told of it in the end. */
export function ConfigOf({ path }: { path: string }) {
  const shaping = useGet<{ items: Shaping[] }>(`${path}/_policies`);
  const told = useGet<Told>(`${path}/_config`, undefined, 60_000);
  const kept = useKept();
  return (
    <div className="grid gap-4">
      <Panel title="Objects that touch it" flush>
        <View of={shaping} rows={3}>
          {({ items }) =>
            items.length === 0 ? (
              <EmptyFirst icon="config" title="No object touches it">
                <p>It is reached as the mesh does by itself: over mutual TLS, at any endpoint.</p>
              </EmptyFirst>
            ) : (
              <Objects items={items} />
            )
          }
        </View>
      </Panel>
      <Panel title="What proxies are told of it" flush>
        <View of={told} rows={3}>
          {(told) =>
            told.seen_by === null ? (
              <EmptyFirst icon="proxies" title="No connected proxy knows it">
                <p>A proxy is told of a service once it may call it. <Link href={kept("/proxies")}>Proxies</Link></p>
              </EmptyFirst>
            ) : (
              <Resources items={named(told)} note={` as ${told.seen_by} has them`} />
            )
          }
        </View>
      </Panel>
    </div>
  );
}
