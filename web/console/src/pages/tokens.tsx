import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useState } from "react";
import { useCan } from "../api/can";
import { call } from "../api/client";
import { useGet } from "../api/hooks";
import type { List } from "../api/types";
import { CopyAs } from "../ui/copy";
import { Dialog } from "../ui/dialog";
import { Panel } from "../ui/page";
import { Secret } from "../ui/secret";
import { ProblemBox, View } from "../ui/states";
import { type Column, Table } from "../ui/table";

/** What tokens for people and programs, and those that let workloads in, have in common: made, shown once, revoked. */
export interface Sort<T> {
  /** `API token` */
  name: string;
  path: string;
  /** What it takes to make and revoke them. */
  verb: string;
  columns: Column<T>[];
  nameOf: (row: T) => string;
  /** What becomes of whoever has it. */
  revoked: string;
  order: string;
  empty: ReactNode;
  form: (props: FormProps) => ReactNode;
  secret: { command: (token: string) => string; about: string };
}

export interface FormProps {
  close: () => void;
  made: (token: string) => void;
}

/** The form of a new token: its fields are the children's, sending it is the same for all. */
export function TokenForm({ title, path, body, ready, cli, close, made, children }: FormProps & { title: string; path: string; body: unknown; ready: boolean; cli: string; children: ReactNode }) {
  const [failed, setFailed] = useState<unknown>(null);
  const client = useQueryClient();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    call<{ token?: string }>(path, { method: "POST", body })
      .then(({ token }) => {
        void client.invalidateQueries({ queryKey: [path] });
        made(token ?? "");
      })
      .catch(setFailed);
  };
  return (
    <Dialog title={title} close={close}>
      <form className="grid gap-4 sm:grid-cols-2" onSubmit={submit}>
        {children}
        {failed !== null && <div className="col-span-full"><ProblemBox error={failed} /></div>}
        <div className="col-span-full flex flex-wrap justify-end gap-2">
          <CopyAs cli={cli} path={path} options={{ method: "POST", body }} />
          <button type="button" className="button" onClick={close}>Cancel</button>
          <button type="submit" className="button primary" disabled={!ready}>Make it</button>
        </div>
      </form>
    </Dialog>
  );
}

function Revoke<T extends { id: string }>({ sort, row, close }: { sort: Sort<T>; row: T; close: () => void }) {
  const [failed, setFailed] = useState<unknown>(null);
  const client = useQueryClient();
  const path = `${sort.path}/${encodeURIComponent(row.id)}`;
  const revoke = () => {
    call(path, { method: "DELETE" })
      .then(() => {
        void client.invalidateQueries({ queryKey: [sort.path] });
        close();
      })
      .catch(setFailed);
  };
  return (
    <Dialog title={`Revoke the ${sort.name} ${sort.nameOf(row)}?`} close={close}>
      <div className="grid gap-4">
        <p>{sort.revoked}</p>
        {failed !== null && <ProblemBox error={failed} />}
        <div className="flex flex-wrap justify-end gap-2">
          <CopyAs path={path} options={{ method: "DELETE" }} />
          <button type="button" className="button" data-focus="" onClick={close}>Keep it</button>
          <button type="button" className="button danger" onClick={revoke}>Revoke</button>
        </div>
      </div>
    </Dialog>
  );
}

export function Tokens<T extends { id: string }>({ sort }: { sort: Sort<T> }) {
  const tokens = useGet<List<T>>(sort.path, { limit: 1000 });
  const denied = useCan(sort.verb);
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<T | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const close = () => setMaking(false);
  const made = (token: string) => {
    close();
    setSecret(token);
  };
  const action: Column<T> = {
    key: "revoke",
    header: "Action",
    right: true,
    cell: (row) => (
      <button type="button" className="button small danger" disabled={denied !== null} title={denied ?? undefined} aria-label={`Revoke ${sort.nameOf(row)}`} onClick={() => setRevoking(row)}>
        Revoke
      </button>
    ),
  };
  return (
    <Panel
      flush
      title={`${sort.name.charAt(0).toUpperCase()}${sort.name.slice(1)}s`}
      actions={
        <button type="button" className="button small" disabled={denied !== null} title={denied ?? undefined} onClick={() => setMaking(true)}>
          New token
        </button>
      }
    >
      <View of={tokens}>{({ items }) => (items.length === 0 ? sort.empty : <Table label={`${sort.name}s`} rows={items} columns={[...sort.columns, action]} id={(row) => row.id} order={sort.order} param="tokens" />)}</View>
      {making && sort.form({ close, made })}
      {revoking && <Revoke sort={sort} row={revoking} close={() => setRevoking(null)} />}
      {secret && <Secret title={sort.name} command={sort.secret.command(secret)} about={sort.secret.about} close={() => setSecret(null)} />}
    </Panel>
  );
}
