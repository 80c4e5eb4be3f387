import { type KeyboardEvent, type ReactNode, useMemo, useState } from "react";
import { Link } from "wouter";
import { compare } from "../lib/filter";
import { pageOf } from "../lib/page";
import { useParam } from "../lib/params";
import { Icon } from "./icons";

export interface Column<T> {
  key: string;
  header: string;
  cell: (row: T) => ReactNode;
  /** What the column is sorted by; without it, it is not. */
  sort?: (row: T) => unknown;
  right?: boolean;
  className?: string;
}

interface Props<T> {
  label: string;
  rows: T[];
  columns: Column<T>[];
  id: (row: T) => string;
  /** Where a row leads: its first cell becomes the link. */
  href?: (row: T) => string;
  onOpen?: (row: T) => void;
  selected?: string;
  /** `column` or `-column`. */
  order?: string;
  /** The name of the sort order in the page's address, for pages with several tables. */
  param?: string;
}

/** Moves among rows by j, k and the arrows; Enter opens, as each row's first cell is a link or a button. */
function move(event: KeyboardEvent<HTMLTableSectionElement>) {
  const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
  if (!step || event.metaKey || event.ctrlKey || event.altKey) return;
  const openers = [...event.currentTarget.querySelectorAll<HTMLElement>("[data-opens]")];
  const at = openers.findIndex((opener) => opener === document.activeElement);
  const next = openers[Math.max(0, Math.min(openers.length - 1, at + step))];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

export function Table<T>({ label, rows, columns, id, href, onOpen, selected, order = "", param = "sort" }: Props<T>) {
  const [sort, setSort] = useParam(param, order);
  const descending = sort.startsWith("-");
  const key = descending ? sort.slice(1) : sort;
  const sorted = useMemo(() => {
    const by = columns.find((column) => column.key === key)?.sort;
    if (!by) return rows;
    const ordered = [...rows].sort((a, b) => {
      const [left, right] = [by(a), by(b)];
      if (left === null || left === undefined || right === null || right === undefined) return compare(left, right);
      return descending ? compare(right, left) : compare(left, right);
    });
    return ordered;
  }, [rows, columns, key, descending]);
  const [wanted, setWanted] = useState(0);
  const page = pageOf(sorted.length, wanted);
  return (
    <>
    <div className="relative overflow-x-auto" role="region" aria-label={label} tabIndex={0}>
      <table className="grid-table">
        <caption className="sr-only">{label}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.key} scope="col" className={column.right ? "right" : ""} aria-sort={column.key === key ? (descending ? "descending" : "ascending") : undefined}>
                {column.sort ? (
                  <button type="button" onClick={() => setSort(key === column.key && !descending ? `-${column.key}` : column.key)}>
                    {column.header}
                    {column.key === key && <Icon name={descending ? "down" : "up"} size={12} />}
                  </button>
                ) : (
                  <span>{column.header}</span>
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody onKeyDown={move}>
          {sorted.slice(page.from, page.to).map((row) => (
            <tr key={id(row)} aria-current={selected === id(row) ? "true" : undefined}>
              {columns.map((column, index) => (
                <td key={column.key} className={`${column.right ? "right" : ""} ${column.className ?? ""}`}>
                  {index === 0 ? <Opener row={row} href={href} onOpen={onOpen}>{column.cell(row)}</Opener> : column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
    {page.count > 1 && (
      <div className="flex items-center justify-end gap-3 border-t border-line px-4 py-2 text-soft" role="group" aria-label={`Pages of ${label.toLowerCase()}`}>
        <span className="tabular-nums" aria-live="polite">{`${page.from + 1} to ${page.to} of ${sorted.length}`}</span>
        <button type="button" className="button small" disabled={page.at === 0} onClick={() => setWanted(page.at - 1)}>Previous</button>
        <button type="button" className="button small" disabled={page.at === page.count - 1} onClick={() => setWanted(page.at + 1)}>Next</button>
      </div>
    )}
    </>
  );
}

function Opener<T>({ row, href, onOpen, children }: { row: T; href?: (row: T) => string; onOpen?: (row: T) => void; children: ReactNode }) {
  if (href) {
    return (
      <Link href={href(row)} data-opens="" className="font-medium">
        {children}
      </Link>
    );
  }
  if (onOpen) {
    return (
      <button type="button" data-opens="" className="text-left font-medium text-accent hover:underline" onClick={() => onOpen(row)}>
        {children}
      </button>
    );
  }
  return children;
}
