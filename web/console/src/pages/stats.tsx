import { useEffect, useState } from "react";
import { useGet } from "../api/hooks";
import { useParam } from "../lib/params";
import { CopyAs } from "../ui/copy";
import { EmptyFiltered, View } from "../ui/states";
import { Long } from "../ui/status";
import { type Column, Table } from "../ui/table";

interface Stat {
  name: string;
  value: number;
}

const COLUMNS: Column<Stat>[] = [
  { key: "name", header: "Counter", sort: (row) => row.name, cell: (row) => <Long>{row.name}</Long> },
  { key: "value", header: "Value", right: true, sort: (row) => row.value, cell: (row) => row.value.toLocaleString("en") },
];

/** What a proxy counts right now, by the beginning of the names. */
export function Stats({ path }: { path: string }) {
  const [prefix, setPrefix] = useParam("counters", "cluster.");
  const [typed, setTyped] = useState(prefix);
  // The proxy itself is asked: once for a word, not for each of its letters.
  useEffect(() => {
    if (typed === prefix) return undefined;
    const timer = setTimeout(() => setPrefix(typed), 300);
    return () => clearTimeout(timer);
  }, [typed, prefix, setPrefix]);
  const stats = useGet<{ items: Stat[]; more: boolean }>(`${path}/_stats`, { prefix }, 10_000);
  return (
    <div className="panel overflow-hidden">
      <div className="flex items-center gap-2 p-3">
        <input className="field" aria-label="Names begin with" value={typed} onChange={(event) => setTyped(event.target.value)} />
        <CopyAs path={`${path}/_stats`} options={{ query: { prefix } }} />
        {stats.data?.more && <span className="text-soft">There are more; say more of the name.</span>}
      </div>
      <View of={stats}>
        {({ items }) =>
          items.length === 0 ? <EmptyFiltered what="counters" clear={() => setTyped("")} /> : <Table label="Counters" rows={items} columns={COLUMNS} id={(row) => row.name} order="name" param="stats" />
        }
      </View>
    </div>
  );
}
