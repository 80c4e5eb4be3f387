import { Link } from "wouter";
import { useGet } from "../../api/hooks";
import { useResources } from "../../api/resources";
import type { List, Resource, Trouble } from "../../api/types";
import { matches } from "../../lib/filter";
import { ago, plural } from "../../lib/format";
import { KINDS, objectPath } from "../../lib/kinds";
import { useKept, useParam, useScope } from "../../lib/params";
import { CopyAs } from "../../ui/copy";
import { Icon } from "../../ui/icons";
import { Filter, Page } from "../../ui/page";
import { EmptyFiltered, EmptyFirst, Loading, Partial, ProblemBox, Stale } from "../../ui/states";
import { Badge, type Tone } from "../../ui/status";
import { type Column, Table } from "../../ui/table";

export function ownerOf(resource: Resource): { word: string; where: string } {
  const { file, cluster, author } = resource.provenance ?? {};
  if (file) return { word: "file", where: file };
  if (cluster) return { word: "Kubernetes", where: cluster };
  return { word: "API", where: author ?? "" };
}

export const about = ({ object }: Trouble, resource: { kind: string; namespace: string; name: string }) =>
  object?.toLowerCase() === `${resource.kind} ${resource.namespace}/${resource.name}`.toLowerCase();

const TONE: Record<string, Tone> = { error: "bad", warning: "warn", info: "info" };

export const configPath = (resource: { kind: string; namespace: string; name: string }) => `/config${objectPath(resource.kind, resource.namespace, resource.name)}`;

function columns(troubles: Trouble[]): Column<Resource>[] {
  return [
    { key: "name", header: "Name", sort: (row) => row.name, cell: (row) => row.name },
    { key: "kind", header: "Kind", sort: (row) => row.kind, cell: (row) => row.kind },
    { key: "namespace", header: "Namespace", sort: (row) => row.namespace, cell: (row) => row.namespace },
    {
      key: "checks",
      header: "Checks",
      cell: (row) => {
        const found = troubles.filter((trouble) => about(trouble, row));
        if (found.length === 0) return <Badge tone="ok">valid</Badge>;
        return (
          <span className="flex flex-wrap gap-1">
            {found.map((trouble, at) => (
              <Badge key={at} tone={TONE[trouble.severity]} title={trouble.message}>
                {trouble.code}
              </Badge>
            ))}
          </span>
        );
      },
    },
    {
      key: "owner",
      header: "Lives in",
      sort: (row) => ownerOf(row).word,
      cell: (row) => {
        const { word, where } = ownerOf(row);
        return (
          <span className="flex min-w-0 items-center gap-2">
            {word !== "API" && <Icon name="lock" size={14} label="read-only here" />}
            <span>{word}</span>
            <span className="clip max-w-72 text-soft" title={where}>{where}</span>
          </span>
        );
      },
    },
    { key: "revision", header: "Revision", right: true, sort: (row) => row.revision, cell: (row) => row.revision || "–" },
    { key: "created", header: "Created", right: true, sort: (row) => row.created, cell: (row) => (row.created ? ago(row.created) : "–") },
  ];
}

export default function ConfigPage() {
  const [scope, setScope] = useScope();
  const [filter, setFilter] = useParam("filter");
  const [kind, setKind] = useParam("kind");
  const kept = useKept();
  const resources = useResources(undefined, scope);
  const problems = useGet<List<Trouble>>("/problems");
  const shown = resources.items.filter((row) => (!kind || row.kind === kind) && matches(filter, { name: row.name, kind: row.kind, namespace: row.namespace, in: ownerOf(row).word, text: JSON.stringify(row.object.spec ?? {}) }));
  return (
    <Page
      title="Configuration"
      about="Every rule of the mesh, wherever it lives."
      actions={
        <>
          <CopyAs cli={`weft get ${(kind || "VirtualService").toLowerCase()}${scope ? ` -n ${scope}` : " -A"} -o yaml`} path={`/${kind ? (KINDS.find((each) => each.kind === kind)?.plural ?? "virtualservices") : "virtualservices"}`} options={{ query: { namespace: scope } }} />
          <Link href={kept("/config/new")} className="button primary">
            <Icon name="plus" size={14} /> New
          </Link>
        </>
      }
    >
      {resources.stale !== null && <Stale since={resources.stale} />}
      <Partial answered={KINDS.length - resources.missing.length} total={KINDS.length} missing={resources.missing} />
      <div className="panel overflow-hidden">
        {resources.error ? (
          <div className="p-4"><ProblemBox error={resources.error} retry={resources.again} /></div>
        ) : resources.pending && resources.items.length === 0 ? (
          <Loading />
        ) : resources.items.length === 0 && !scope ? (
          <EmptyFirst icon="config" title="No configuration yet" command="weft apply -f examples/bookinfo/virtual-service-reviews-50-v3.yaml" action={<Link href={kept("/config/new")} className="button">Write the first rule</Link>}>
            <p>Without rules every service can call every other, over mutual TLS, and versions share the traffic.</p>
          </EmptyFirst>
        ) : (
          <>
            <Filter value={filter} set={setFilter} label="Filter configuration">
              <select className="field" aria-label="Kind" value={kind} onChange={(event) => setKind(event.target.value)}>
                <option value="">All kinds</option>
                {KINDS.map((each) => (
                  <option key={each.kind}>{each.kind}</option>
                ))}
              </select>
              <span className="text-soft">{plural(shown.length, "object")}</span>
            </Filter>
            {shown.length === 0 ? (
              <EmptyFiltered what="objects" clear={() => { setFilter(""); setKind(""); if (!filter && !kind) setScope(""); }} />
            ) : (
              <Table label="Configuration" rows={shown} columns={columns(problems.data?.items ?? [])} id={(row) => `${row.kind} ${row.namespace} ${row.name}`} href={(row) => kept(configPath(row))} order="name" />
            )}
          </>
        )}
      </div>
    </Page>
  );
}
