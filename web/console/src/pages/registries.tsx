import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useCan } from "../api/can";
import { call } from "../api/client";
import { useGet } from "../api/hooks";
import type { Registries, Registry } from "../api/types";
import { ago, plural } from "../lib/format";
import { CopyAs } from "../ui/copy";
import { Page, Panel } from "../ui/page";
import { EmptyFirst, Partial, ProblemBox, View } from "../ui/states";
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

const WORDS = { pause: "Pause", resume: "Resume", resync: "Read anew" };

/** What can be done with a registry; what the configuration declares is changed there. */
function Steer({ of, fail }: { of: Registry; fail: (error: unknown) => void }) {
  const client = useQueryClient();
  const denied = useCan("write");
  const [busy, setBusy] = useState(false);
  const options = { method: "POST" };
  const path = (word: string) => `/registries/${encodeURIComponent(of.name)}/_${word}`;
  const steer = (word: string) => {
    fail(null);
    setBusy(true);
    call(path(word), options)
      .catch(fail)
      .finally(() => {
        setBusy(false);
        void client.invalidateQueries();
      });
  };
  const offered = of.name === "static" ? [] : of.state === "paused" ? (["resume"] as const) : (["pause", "resync"] as const);
  const [first, ...more] = offered.map((word) => ({ cli: `weft registry ${word} ${of.name}`, path: path(word), options }));
  return (
    <span className="flex justify-end gap-2">
      {first && <CopyAs small {...first} more={more} />}
      {offered.map((word) => (
        <button key={word} type="button" className="button small" aria-label={`${WORDS[word]} ${of.name}`} title={denied ?? undefined} disabled={busy || denied !== null} onClick={() => steer(word)}>
          {WORDS[word]}
        </button>
      ))}
    </span>
  );
}

export function RegistriesPage() {
  const [failed, setFailed] = useState<unknown>(null);
  const registries = useGet<Registries>("/registries");
  return (
    <Page title="Registries" about="Where services and endpoints come from, and what the sources disagree about." actions={<CopyAs cli="weft registry status" path="/registries" />}>
      <View of={registries}>
        {({ items, conflicts }) => {
          const lost = items.filter((registry) => registry.state === "stale");
          const findings = items.flatMap((registry) => registry.findings.map((words) => ({ registry: registry.name, words })));
          return (
            <div className="grid gap-4">
              {failed !== null && <ProblemBox error={failed} />}
              <Partial answered={items.length - lost.length} total={items.length} missing={lost.map((registry) => registry.name)} />
              <Panel title={plural(items.length, "registry", "registries")} flush>
                {items.length === 0 ? (
                  <EmptyFirst icon="registries" title="No registry" command="weft up --consul http://127.0.0.1:8500" />
                ) : (
                  <Table label="Registries" rows={items} columns={[...COLUMNS, { key: "steer", header: "Action", right: true, cell: (row) => <Steer of={row} fail={setFailed} /> }]} id={(row) => row.name} order="name" />
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
