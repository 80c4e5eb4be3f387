import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useCan } from "../api/can";
import { call } from "../api/client";
import { useGet } from "../api/hooks";
import type { JoinToken, List, Member, Proxy } from "../api/types";
import { ago, plural, until } from "../lib/format";
import { CopyAs } from "../ui/copy";
import { Dialog } from "../ui/dialog";
import { Page, Tabs } from "../ui/page";
import { EmptyFirst, ProblemBox, View } from "../ui/states";
import { Badge } from "../ui/status";
import { type Column, Table } from "../ui/table";
import { type FormProps, type Sort, TokenForm, Tokens } from "./tokens";

function Evict({ member, close }: { member: Member; close: () => void }) {
  const client = useQueryClient();
  const [failed, setFailed] = useState<unknown>(null);
  const path = `/members/${encodeURIComponent(member.id)}`;
  const evict = () => {
    call(path, { method: "DELETE" })
      .then(() => {
        void client.invalidateQueries();
        close();
      })
      .catch(setFailed);
  };
  return (
    <Dialog title={`Evict ${member.service_account}?`} close={close}>
      <div className="grid gap-4">
        <p>The workload is deregistered at once and gets no certificate any more. To come back it needs a new join token.</p>
        {failed !== null && <ProblemBox error={failed} />}
        <div className="flex justify-end gap-2">
          <CopyAs path={path} options={{ method: "DELETE" }} />
          <button type="button" className="button" onClick={close}>Keep it</button>
          <button type="button" className="button danger" onClick={evict}>Evict</button>
        </div>
      </div>
    </Dialog>
  );
}

function Members() {
  const members = useGet<List<Member>>("/members", { limit: 1000 });
  const proxies = useGet<List<Proxy>>("/proxies", { limit: 1000 });
  const [evicting, setEvicting] = useState<Member | null>(null);
  const denied = useCan("evict");
  const proxyOf = (member: Member) => proxies.data?.items.find((proxy) => proxy.node.includes(member.id) || proxy.identity?.endsWith(`/ns/${member.namespace}/sa/${member.service_account}`));
  const columns: Column<Member>[] = [
    { key: "account", header: "Workload", sort: (row) => row.service_account, cell: (row) => <span className="font-medium">{row.service_account}</span> },
    { key: "namespace", header: "Namespace", sort: (row) => row.namespace, cell: (row) => row.namespace },
    {
      key: "state",
      header: "State",
      sort: (row) => row.ended ?? "",
      cell: (row) => (row.ended ? <Badge>{row.ended}</Badge> : !proxies.data ? "–" : proxyOf(row) ? <Badge tone="ok">connected</Badge> : <Badge tone="warn">away</Badge>),
    },
    { key: "group", header: "Group", cell: (row) => row.workload_group ?? "–" },
    { key: "services", header: "May serve", cell: (row) => row.services.join(", ") || "anything of its namespace" },
    { key: "os", header: "System", sort: (row) => row.os, cell: (row) => row.os ?? "–" },
    { key: "version", header: "Version", sort: (row) => row.version, cell: (row) => row.version ?? "–" },
    { key: "seen", header: "Heard of", right: true, sort: (row) => row.last_seen, cell: (row) => (row.last_seen ? ago(row.last_seen) : "–") },
    { key: "joined", header: "Joined", right: true, sort: (row) => row.joined, cell: (row) => ago(row.joined) },
    { key: "id", header: "Member", cell: (row) => <span className="mono">{row.id}</span> },
    {
      key: "evict",
      header: "Action",
      right: true,
      cell: (row) =>
        row.ended ? null : (
          <button type="button" className="button small danger" disabled={denied !== null} title={denied ?? undefined} onClick={() => setEvicting(row)}>
            Evict
          </button>
        ),
    },
  ];
  return (
    <div className="panel overflow-hidden">
      <View of={members}>
        {({ items }) =>
          items.length === 0 ? (
            <EmptyFirst icon="machines" title="No machine has joined" command="weft join https://CONTROL-PLANE:15012 --token weft_join_…">
              <p>A machine joins with a token; make one on the other tab.</p>
            </EmptyFirst>
          ) : (
            <Table label="Members" rows={items} columns={columns} id={(row) => row.id} order="account" />
          )
        }
      </View>
      {evicting && <Evict member={evicting} close={() => setEvicting(null)} />}
    </div>
  );
}

function NewToken(props: FormProps) {
  const [namespace, setNamespace] = useState("default");
  const [account, setAccount] = useState("");
  const [hours, setHours] = useState(1);
  const [uses, setUses] = useState(1);
  const body = { namespace, service_account: account, ttl_seconds: Math.round(hours * 3600), uses };
  return (
    <TokenForm title="New join token" path="/tokens" body={body} ready={account !== ""} cli={`weft token create -n ${namespace} --service-account ${account || "NAME"}`} {...props}>
      <label className="grid gap-1">
        <span className="font-medium">Namespace</span>
        <input className="field" required value={namespace} onChange={(event) => setNamespace(event.target.value)} />
      </label>
      <label className="grid gap-1">
        <span className="font-medium">Service account</span>
        <input className="field" required data-focus="" value={account} placeholder="reviews" onChange={(event) => setAccount(event.target.value)} />
      </label>
      <label className="grid gap-1">
        <span className="font-medium">Good for hours</span>
        <input className="field" type="number" min={0.1} step={0.1} value={hours} onChange={(event) => setHours(Number(event.target.value))} />
      </label>
      <label className="grid gap-1">
        <span className="font-medium">Uses</span>
        <input className="field" type="number" min={1} value={uses} onChange={(event) => setUses(Number(event.target.value))} />
      </label>
    </TokenForm>
  );
}

const TOKENS: Sort<JoinToken> = {
  name: "join token",
  path: "/tokens",
  verb: "issue-join-token",
  columns: [
    { key: "account", header: "For", sort: (row) => row.service_account, cell: (row) => <span className="font-medium">{`${row.namespace}/${row.service_account}`}</span> },
    { key: "state", header: "State", cell: (row) => (row.expired ? <Badge>over</Badge> : row.used >= row.uses ? <Badge>used up</Badge> : <Badge tone="ok">good</Badge>) },
    { key: "used", header: "Used", right: true, sort: (row) => row.used, cell: (row) => `${row.used} of ${row.uses}` },
    { key: "expires", header: "Ends", right: true, sort: (row) => row.expires, cell: (row) => until(row.expires) },
    { key: "created", header: "Made", right: true, sort: (row) => row.created, cell: (row) => ago(row.created) },
    { key: "group", header: "Group", cell: (row) => row.workload_group ?? "–" },
    { key: "id", header: "Token", cell: (row) => <span className="mono">{row.id}</span> },
  ],
  nameOf: (row) => `for ${row.namespace}/${row.service_account}`,
  revoked: "Nobody can join with it any more. Who joined with it stays a member.",
  order: "-created",
  empty: (
    <EmptyFirst icon="access" title="No join token" command="weft token create --service-account reviews">
      <p>A join token lets a workload in once, with the identity that it names.</p>
    </EmptyFirst>
  ),
  form: (props) => <NewToken {...props} />,
  secret: { command: (token) => `weft join https://${location.hostname}:15012 --token ${token}`, about: "Run this on the machine; put the control plane's name in place of this one if the machine knows it by another." },
};

export default function MachinesPage() {
  const members = useGet<List<Member>>("/members", { limit: 1000 });
  const active = members.data?.items.filter((member) => !member.ended).length;
  return (
    <Page title="Machines" about={active === undefined ? "Who joined the mesh with a token." : `${plural(active, "workload")} joined with a token.`} actions={<CopyAs cli="weft token list" path="/members" />}>
      <Tabs
        tabs={[
          { key: "members", title: "Members", count: active, body: () => <Members /> },
          { key: "tokens", title: "Join tokens", body: () => <Tokens sort={TOKENS} /> },
        ]}
      />
    </Page>
  );
}
