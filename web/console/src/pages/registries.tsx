import { useGet } from "../api/hooks";
import type { Registries, Registry } from "../api/types";
import { ago, plural } from "../lib/format";
import { CopyAs } from "../ui/copy";
import { Page, Panel } from "../ui/page";
import { EmptyFirst, Partial, View } from "../ui/states";
import { Status } from "../ui/status";
import { type Column, Table } from "../ui/table";

const COLUMNS: Column<Registry>[] = [
  { key: "name", header: "Registry", sort: (row) => row.name, cell: (row) => <span className="font-medium">{row.name}</span> },
  { key: "state", header: "State", sort: (row) => row.state, cell: (row) => <Status word={row.state} /> },
  { key: "since", header: "Since", right: true, sort: (row) => row.since, cell: (row) => (row.since ? ago(row.since) : "–") },
  { key: "services", header: "Services", right: true, sort: (row) => row.services, cell: (row) => row.services },
  { key: "endpoints", header: "Endpoints", right: true, sort: (row) => row.endpoints, cell: (row) => row.endpoints },
  { key: "reason", header: "Last trouble", cell: (row) => row.reason ?? (row.forgotten ? "away so long that nothing it told counts" : "–") },
];

export function RegistriesPage() {
  const registries = useGet<Registries>("/registries");
  return (
    <Page title="Registries" about="Where services and endpoints come from, and what the sources disagree about." actions={<CopyAs cli="weft registry status" path="/registries" />}>
      <View of={registries}>
        {({ items, conflicts }) => {
          const lost = items.filter((registry) => registry.state === "stale");
          const findings = items.flatMap((registry) => registry.findings.map((words) => ({ registry: registry.name, words })));
          return (
            <div className="grid gap-4">
              <Partial answered={items.length - lost.length} total={items.length} missing={lost.map((registry) => registry.name)} />
              <Panel title={plural(items.length, "registry", "registries")} flush>
                {items.length === 0 ? (
                  <EmptyFirst icon="registries" title="No registry" command="weft up --consul http://127.0.0.1:8500" />
                ) : (
                  <Table label="Registries" rows={items} columns={COLUMNS} id={(row) => row.name} order="name" />
                )}
              </Panel>
              {findings.length > 0 && (
                <Panel title="What cannot be used" flush>
                  <Table
                    label="Findings"
                    rows={findings}
                    id={(row) => `${row.registry} ${row.words}`}
                    param="findings"
                    columns={[
                      { key: "registry", header: "Registry", sort: (row) => row.registry, cell: (row) => row.registry },
                      { key: "words", header: "Finding", cell: (row) => row.words },
                    ]}
                  />
                </Panel>
              )}
              <Panel title="Conflicts" flush>
                {conflicts.length === 0 ? (
                  <p className="p-4 text-soft">The registries agree about every service.</p>
                ) : (
                  <Table
                    label="Conflicts"
                    rows={conflicts}
                    id={(row) => `${row.service} ${row.message}`}
                    param="conflicts"
                    columns={[
                      { key: "service", header: "Service", sort: (row) => row.service, cell: (row) => row.service },
                      { key: "message", header: "What they say, and who is believed", cell: (row) => row.message },
                    ]}
                  />
                )}
              </Panel>
            </div>
          );
        }}
      </View>
    </Page>
  );
}
