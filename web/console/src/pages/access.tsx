import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useCan } from "../api/can";
import { call, quote } from "../api/client";
import { useGet } from "../api/hooks";
import type { List } from "../api/types";
import { ago, plural, until } from "../lib/format";
import { KINDS } from "../lib/kinds";
import { CopyAs } from "../ui/copy";
import { Dialog } from "../ui/dialog";
import { Page, Panel } from "../ui/page";
import { Secret } from "../ui/secret";
import { EmptyFirst, ProblemBox, View } from "../ui/states";
import { Badge } from "../ui/status";
import { type Column, Table } from "../ui/table";

interface Token {
  id: string;
  name: string;
  role: string;
  scopes: { verbs: string[]; kinds: string[]; namespaces: string[] };
  author: string;
  created: number;
  expires: number | null;
  last_used: number | null;
  token?: string;
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

function NewToken({ close, made }: { close: () => void; made: (token: string) => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("viewer");
  const [days, setDays] = useState(30);
  const [namespaces, setNamespaces] = useState("");
  const [kinds, setKinds] = useState<string[]>([]);
  const [failed, setFailed] = useState<unknown>(null);
  const client = useQueryClient();
  const body = { name, role, ttl_seconds: Math.round(days * 86_400), scopes: { verbs: [], kinds, namespaces: words(namespaces) } };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    call<Token>("/access/tokens", { method: "POST", body })
      .then((token) => {
        void client.invalidateQueries({ queryKey: ["/access/tokens"] });
        made(token.token ?? "");
      })
      .catch(setFailed);
  };
  return (
    <Dialog title="New API token" close={close}>
      <form className="grid grid-cols-2 gap-4" onSubmit={submit}>
        <label className="col-span-2 grid gap-1">
          <span className="font-medium">Who or what it is for</span>
          <input className="field" required data-focus="" value={name} placeholder="deploys of the shop" onChange={(event) => setName(event.target.value)} />
        </label>
        <fieldset className="col-span-2 grid gap-1">
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
        <fieldset className="col-span-2">
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
        {failed !== null && <div className="col-span-2"><ProblemBox error={failed} /></div>}
        <div className="col-span-2 flex justify-end gap-2">
          <CopyAs cli={`weft access token create ${quote(name || "NAME")} --role ${role} --ttl ${days}d${kinds.map((kind) => ` --kind ${kind}`).join("")}${words(namespaces).map((each) => ` -n ${each}`).join("")}`} path="/access/tokens" options={{ method: "POST", body }} />
          <button type="button" className="button" onClick={close}>Cancel</button>
          <button type="submit" className="button primary" disabled={!name}>Make it</button>
        </div>
      </form>
    </Dialog>
  );
}

export default function AccessPage() {
  const tokens = useGet<List<Token>>("/access/tokens", { limit: 1000 });
  const client = useQueryClient();
  const denied = useCan("manage-access");
  const [making, setMaking] = useState(false);
  const [secret, setSecret] = useState<string | null>(null);
  const [failed, setFailed] = useState<unknown>(null);
  const revoke = (id: string) => {
    call(`/access/tokens/${encodeURIComponent(id)}`, { method: "DELETE" })
      .then(() => client.invalidateQueries({ queryKey: ["/access/tokens"] }))
      .catch(setFailed);
  };
  const columns: Column<Token>[] = [
    { key: "name", header: "Name", sort: (row) => row.name, cell: (row) => <span className="font-medium">{row.name}</span> },
    { key: "role", header: "Role", sort: (row) => row.role, cell: (row) => <Badge tone={row.role === "admin" ? "warn" : "info"} icon="access">{row.role}</Badge> },
    { key: "scopes", header: "Narrowed to", cell: scopesOf },
    { key: "expires", header: "Ends", sort: (row) => row.expires, cell: (row) => (row.expires ? until(row.expires) : "never") },
    { key: "used", header: "Last used", sort: (row) => row.last_used, cell: (row) => (row.last_used ? ago(row.last_used) : "never") },
    { key: "author", header: "Made by", cell: (row) => row.author || "–" },
    {
      key: "revoke",
      header: "Action",
      right: true,
      cell: (row) => (
        <button type="button" className="button small danger" disabled={denied !== null} title={denied ?? undefined} onClick={() => revoke(row.id)}>
          Revoke
        </button>
      ),
    },
  ];
  return (
    <Page
      title="Access"
      about="Who may use this API and this console, and for what."
      actions={
        <>
          <CopyAs cli="weft access token list" path="/access/tokens" />
          <button type="button" className="button primary" disabled={denied !== null} title={denied ?? undefined} onClick={() => setMaking(true)}>
            New token
          </button>
        </>
      }
    >
      {failed !== null && <div className="mb-4"><ProblemBox error={failed} /></div>}
      <View of={tokens}>
        {({ items }) => (
          <div className="grid gap-4">
            <Panel title={plural(items.length, "API token")} flush>
              {items.length === 0 ? <EmptyFirst icon="access" title="No API token" /> : <Table label="API tokens" rows={items} columns={columns} id={(row) => row.id} order="name" />}
            </Panel>
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
        )}
      </View>
      {making && <NewToken close={() => setMaking(false)} made={(token) => { setMaking(false); setSecret(token); }} />}
      {secret && <Secret title="API token" command={secret} about="Keep it where programs keep secrets. It is sent as authorization: Bearer." close={() => setSecret(null)} />}
    </Page>
  );
}
