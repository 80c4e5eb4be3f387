import { useState } from "react";
import { plural } from "../lib/format";
import { matches } from "../lib/filter";
import { useParam } from "../lib/params";
import { Icon } from "./icons";
import { Filter } from "./page";
import { EmptyFiltered } from "./states";

export interface Named {
  type: string;
  name: string;
  version?: string;
  resource: unknown;
}

/** Resources of proxies as a list that can be searched; each opens as JSON. */
export function Resources({ items, note }: { items: Named[]; note: string }) {
  const [filter, setFilter] = useParam("filter");
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set());
  const all = items.map((each) => ({ ...each, text: JSON.stringify(each.resource, null, 2) ?? "" }));
  const found = all.filter((row) => matches(filter, { type: row.type, name: row.name, text: row.text }));
  const toggle = (key: string, shown: boolean) => {
    const next = new Set(open);
    if (shown) next.add(key);
    else next.delete(key);
    if (next.size !== open.size) setOpen(next);
  };
  return (
    <>
      <Filter value={filter} set={setFilter} label="Search names and contents">
        <span className="text-soft">{`${plural(found.length, "resource")}${note}`}</span>
      </Filter>
      {found.length === 0 ? (
        <EmptyFiltered what="resources" clear={() => setFilter("")} />
      ) : (
        <ul>
          {found.map((row) => {
            const key = `${row.type} ${row.name}`;
            return (
              <li key={key} className="border-b border-line last:border-b-0">
                <details open={open.has(key)} onToggle={(event) => toggle(key, event.currentTarget.open)}>
                  <summary className="flex min-h-9 items-center gap-3 px-4 hover:bg-raised" data-opens="">
                    <span className="text-soft"><Icon name={open.has(key) ? "down" : "right"} size={12} /></span>
                    <span className="w-20 shrink-0 text-soft">{row.type}</span>
                    <span className="clip flex-1 font-medium" title={row.name}>{row.name}</span>
                    {row.version && <span className="mono text-soft max-sm:hidden">{row.version.slice(0, 12)}</span>}
                  </summary>
                  {open.has(key) && <pre className="code mx-4 mb-3 max-h-96" tabIndex={0} aria-label={row.name}>{row.text}</pre>}
                </details>
              </li>
            );
          })}
        </ul>
      )}
    </>
  );
}
