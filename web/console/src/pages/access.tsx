import { useState } from "react";
import { quote } from "../api/client";
import { ago, until } from "../lib/format";
import { KINDS } from "../lib/kinds";
import { CopyAs } from "../ui/copy";
import { Page, Panel } from "../ui/page";
import { EmptyFirst } from "../ui/states";
import { Badge } from "../ui/status";
import { Table } from "../ui/table";
import { type FormProps, type Sort, TokenForm, Tokens } from "./tokens";

interface Token {
  id: string;
  name: string;
  role: string;
  scopes: { verbs: string[]; kinds: string[]; namespaces: string[] };
  author: string;
  created: number;
  expires: number | null;
  last_used: number | null;
}

const ROLES: [string, string][] = [
  ["viewer", "looks"],
  ["operator", "looks, changes traffic, watches requests"],
  ["security", "looks, changes who may talk to whom, admits and evicts workloads, reads the audit log"],
  ["admin", "everything"],
];

function scopesOf({ scopes }: Token): string {
  const parts = [scopes.verbs.join(", "), scopes.kinds.join(", "), scopes.namespaces.length > 0 ? `in ${scopes.namespaces.join(", ")}` : ""].filter(Boolean);
  return parts.join(" · ") || "all that the role has";
}

const words = (text: string) => text.split(/[\s,]+/).filter(Boolean);

function NewToken(props: FormProps) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("viewer");
  const [days, setDays] = useState(30);
  const [namespaces, setNamespaces] = useState("");
  const [kinds, setKinds] = useState<string[]>([]);
  const body = { name, role, ttl_seconds: Math.round(days * 86_400), scopes: { verbs: [], kinds, namespaces: words(namespaces) } };
  const cli = `weft access token create ${quote(name || "NAME")} --role ${role} --ttl ${days}d${kinds.map((kind) => ` --kind ${kind}`).join("")}${words(namespaces).map((each) => ` -n ${each}`).join("")}`;
  return (
    <TokenForm title="New API token" path="/access/tokens" body={body} ready={name !== ""} cli={cli} {...props}>
      <label className="col-span-full grid gap-1">
        <span className="font-medium">Who or what it is for</span>
        <input className="field" required data-focus="" value={name} placeholder="deploys of the shop" onChange={(event) => setName(event.target.value)} />
      </label>
      <fieldset className="col-span-full grid gap-1">
        <legend className="mb-1 font-medium">Role</legend>
        {ROLES.map(([each, may]) => (
          <label key={each} className="flex items-baseline gap-2">
            <input type="radio" name="role" className="accent-[var(--accent)]" checked={role === each} onChange={() => setRole(each)} />
            <span className="w-20 font-medium">{each}</span>
            <span className="min-w-0 flex-1 text-soft">{may}</span>
          </label>
        ))}
      </fieldset>
      <label className="grid content-start gap-1">
        <span className="font-medium">Good for days</span>
        <input className="field" type="number" min={1} max={366} value={days} onChange={(event) => setDays(Number(event.target.value))} />
      </label>
      <label className="grid content-start gap-1">
        <span className="font-medium">Namespaces only</span>
        <input className="field" value={namespaces} placeholder="all" onChange={(event) => setNamespaces(event.target.value)} />
      </label>
      <fieldset className="col-span-full">
        <legend className="mb-1 font-medium">Kinds only (none chosen: all)</legend>
        <div className="flex flex-wrap gap-x-4 gap-y-1">
          {KINDS.map(({ kind }) => (
            <label key={kind} className="flex items-center gap-1.5">
              <input type="checkbox" className="accent-[var(--accent)]" checked={kinds.includes(kind)} onChange={(event) => setKinds(event.target.checked ? [...kinds, kind] : kinds.filter((each) => each !== kind))} />
              {kind}
            </label>
          ))}
        </div>
      </fieldset>
    </TokenForm>
  );
}

const TOKENS: Sort<Token> = {
  name: "API token",
  path: "/access/tokens",
  verb: "manage-access",
  columns: [
    { key: "name", header: "Name", sort: (row) => row.name, cell: (row) => <span className="font-medium">{row.name}</span> },
    { key: "role", header: "Role", sort: (row) => row.role, cell: (row) => <Badge tone={row.role === "admin" ? "warn" : "info"} icon="access">{row.role}</Badge> },
    { key: "scopes", header: "Narrowed to", cell: scopesOf },
    { key: "expires", header: "Ends", sort: (row) => row.expires, cell: (row) => (row.expires ? until(row.expires) : "never") },
    { key: "used", header: "Last used", sort: (row) => row.last_used, cell: (row) => (row.last_used ? ago(row.last_used) : "never") },
    { key: "author", header: "Made by", cell: (row) => row.author || "–" },
  ],
  nameOf: (row) => row.name,
  revoked: "Whoever uses it is refused from now on, and sessions that were begun with it end.",
  order: "name",
  empty: <EmptyFirst icon="access" title="No API token" />,
  form: (props) => <NewToken {...props} />,
  secret: { command: (token) => token, about: "Keep it where programs keep secrets. It is sent as authorization: Bearer." },
};

export default function AccessPage() {
  return (
    <Page title="Access" about="Who may use this API and this console, and for what." actions={<CopyAs cli="weft access token list" path="/access/tokens" />}>
      <div className="grid gap-4">
        <Tokens sort={TOKENS} />
        <Panel title="Roles" flush>
          <Table
            label="Roles"
            rows={ROLES}
            id={([role]) => role}
            param="roles"
            columns={[
              { key: "role", header: "Role", cell: ([role]) => <span className="font-medium">{role}</span> },
              { key: "may", header: "May", cell: ([, may]) => may },
            ]}
          />
        </Panel>
      </div>
    </Page>
  );
}
