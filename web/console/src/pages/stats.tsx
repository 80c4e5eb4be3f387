import { useState } from "react";
import { useGet } from "../api/hooks";
import { CopyAs } from "../ui/copy";
import { View } from "../ui/states";
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
  const [prefix, setPrefix] = useState("cluster.");
  const stats = useGet<{ items: Stat[]; more: boolean }>(`${path}/_stats`, { prefix }, 10_000);
  return (
    <div className="panel overflow-hidden">
      <div className="flex items-center gap-2 p-3">
        <input className="field" aria-label="Names begin with" value={prefix} onChange={(event) => setPrefix(event.target.value)} />
        <CopyAs path={`${path}/_stats`} options={{ query: { prefix } }} />
        {stats.data?.more && <span className="text-soft">There are more; say more of the name.</span>}
      </div>
      <View of={stats}>{({ items }) => <Table label="Counters" rows={items} columns={COLUMNS} id={(row) => row.name} order="name" param="stats" />}</View>
    </div>
  );
}
